"""The performance targets of the store, and whether a run meets them."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench_store.rows import (
    ALONE,
    NAMELESS,
    PAIR,
    TOGETHER,
    TOGETHER_NAMELESS,
    Row,
    Rows,
)

BEST_KERNEL, ORACLE = "native", "numpy"


@dataclass(frozen=True)
class Check:
    """A target: at least (or at most) `wanted`; `seen` is None if the run did not measure it."""

    what: str
    wanted: float
    seen: float | None
    unit: str
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """`ok`, `short`, or `not measured`."""
        if self.seen is None:
            return "not measured"
        return "ok" if (self.seen <= self.wanted if self.at_most else self.seen >= self.wanted) else "short"

    def cells(self) -> list[str]:
        """Return the line of a table."""
        sign = "<=" if self.at_most else ">="
        wanted, seen = (
            Row("", "", "", "", value, self.unit).spell() if value is not None else "-"
            for value in (self.wanted, self.seen)
        )
        return [self.what, f"{sign} {wanted}", seen, self.verdict]


def check_all(rows: Rows) -> list[Check]:
    """Return every target, in order."""
    return [*_siblings(rows), *_formats(rows), *_speeds(rows), *_rest(rows), *_real(rows)]


def _siblings(rows: Rows) -> Iterator[Check]:
    def ratio(system: str) -> float | None:
        return rows.find("siblings", "siblings", system, "ratio")

    found = ratio("ours, base found")
    peers = [row.value for row in rows.of("siblings") if row.metric == "ratio" and not row.system.startswith("ours")]
    yield Check("siblings: ratio, base declared", 4.5, ratio("ours, base declared"), "x")
    yield Check("siblings: ratio, base found by sketch", 4.5, found, "x")
    yield Check("siblings: ratio against the best peer's", 1.8, found / max(peers) if found and peers else None, "x")
    yield Check("siblings: ratio, delta off", 2.8, ratio("ours, no delta"), "x")


def _formats(rows: Rows) -> Iterator[Check]:
    wanted = {"bf16": 1.5, "fp32": 1.2, "upcast": 3.0, "fp16": 1.175, "MiniLM": 1.22}
    for case, value in wanted.items():
        yield Check(f"{case}: ratio", value, rows.find("formats", case, "ours", "ratio"), "x")
    heavy = "heavy fine-tune with its base"
    yield Check(
        "heavy fine-tune: ratio, base declared", 3.0, rows.find("heavy", heavy, "ours, base declared", "ratio"), "x"
    )
    yield Check("heavy fine-tune: ratio, base found", 3.0, rows.find("heavy", heavy, "ours, base found", "ratio"), "x")
    twin = rows.find("dedupe", "fp32 + .bin twin", "ours", "raw / distinct")
    yield Check("fp32 and its .bin twin: before coding", 1.95, twin, "x")


def _speeds(rows: Rows) -> Iterator[Check]:
    cut, every = "cut + code + BLAKE3", "all"
    for kernel, variant, wanted in (
        (ORACLE, cut, 750),
        (BEST_KERNEL, cut, 950),
        (ORACLE, every, 300),
        (BEST_KERNEL, every, 340),
    ):
        text = f"ingest per CPU-second, {kernel}: {'all hashes' if variant is every else variant}"
        yield Check(text, wanted, rows.find("hashes", "siblings", f"ours, {kernel}", variant), "MB/s")
    for kernel, wanted in ((ORACLE, 600), (BEST_KERNEL, 1000)):
        for metric, how in (("no delta, checked", "checked"), ("no delta", "checked and written")):
            seen = rows.find("restores", "siblings", f"ours, {kernel}", metric)
            yield Check(f"restore per CPU-second, {kernel}, delta off, {how}", wanted, seen, "MB/s")
    gain = rows.find("workers", "siblings", "ours, no delta", "ingest, gain")
    yield Check("ingest, wall: two cores against one", 1.6, gain, "x")


def _rest(rows: Rows) -> Iterator[Check]:
    peaks = [row.value for row in rows.of("memory") if row.metric.endswith("peak")]
    yield Check("peak memory of a large file", 512 << 20, max(peaks, default=None), "bytes", at_most=True)
    for system in ("ours, no delta", "ours, base declared"):
        seen = {row.metric: row.value for row in rows.of("revision") if row.system == system}
        share = seen["stored added"] / seen["the tensor coded alone"] if seen else None
        yield Check(f"second revision: added / changed tensor, {system}", 1.01, share, "x", at_most=True)


def _real(rows: Rows) -> Iterator[Check]:
    for metric in (TOGETHER, TOGETHER_NAMELESS):
        yield Check(f"containers: {metric}", 1.06, _least(rows, "together", metric), "x", at_most=True)
    for metric, wanted in ((ALONE, 1.215), (NAMELESS, 1.215), (PAIR, 3.1)):
        yield Check(f"containers: {metric}, the least", wanted, _least(rows, "containers", metric), "x")
    wanted_of = {"ratio": (1.115, "x"), "encode per CPU-second": (120, "MB/s"), "decode per CPU-second": (250, "MB/s")}
    for metric, (wanted, unit) in wanted_of.items():
        seen = [row.value for row in rows.of("gguf") if row.metric == metric and row.system == "ours"]
        yield Check(f"real GGUF: {metric}", wanted, min(seen, default=None), unit)


def _least(rows: Rows, group: str, metric: str) -> float | None:
    return min((row.value for row in rows.of(group) if row.metric == metric), default=None)
