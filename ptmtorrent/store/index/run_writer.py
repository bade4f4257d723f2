"""Writes runs: from rows that SQLite held, and from older runs. A run is durable before anything refers to it.

A merge reads and writes in stretches, so that its memory does not depend on the number of rows.
"""

import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, ensure_dir, new_temporary, publish_file, write_all
from ptmtorrent.store.index import run_format
from ptmtorrent.store.index.run import STRETCH_ROWS, Listed, Run
from ptmtorrent.store.index.run_format import BASE, ID_BYTES, NUMBER, PACKED_ROW, ROW, SEGMENT, RunHeader
from ptmtorrent.store.pack.columns import Flags, Numbers

SUFFIX = ".run"
_CHUNK_ROWS = 1 << 16

Arrays = Iterable[npt.NDArray[Any]]


def new_run_path(folder: Path) -> Path:
    """Return a new path for a run in `folder`."""
    return folder / f"{secrets.token_hex(8)}{SUFFIX}"


def write_rows(path: Path, rows: Iterable[Listed]) -> int:
    """Write a run of `rows`, sorted by pack, with no id twice; return how many there are.

    Raises:
        LookupError: a row has an impossible value.
        NoSpace: the disk is full; nothing is left behind.
        StoreError: any other failure.
    """
    packed, segments = bytearray(), list[tuple[int, int]]()
    delta_rows, bases = list[int](), bytearray()
    for number, row in enumerate(rows):
        if not segments or segments[-1][0] != row.pack:
            segments.append((row.pack, number))
        if row.base is not None:
            delta_rows.append(number)
            bases += row.base
        packed += _pack_row(row)
    table = np.frombuffer(packed, dtype=ROW)
    heads = heads_of(table["id"])
    order = np.argsort(heads, kind="stable")
    header = run_format.make_header(len(segments), len(table), len(delta_rows))
    fanout = _fanout(header, [heads])
    _write(
        path,
        header,
        [np.array(segments, dtype=SEGMENT)],
        [table],
        [np.array(delta_rows, dtype=NUMBER)],
        [np.frombuffer(bases, dtype=BASE.base)],
        [fanout],
        [heads[order]],
        [order.astype(NUMBER)],
    )
    return len(table)


def merge_runs(path: Path, runs: Sequence[Run], is_listed: Flags) -> int:
    """Write a run of the rows of `runs`, the oldest first, that lie in packs that are listed; return how many.

    Raises:
        NoSpace: the disk is full; nothing is left behind.
        StoreError: any other failure.
    """
    merge = _Merge(runs, is_listed)
    rows = merge.header.rows
    _write(
        path,
        merge.header,
        [merge.segments()],
        merge.rows(),
        merge.delta_rows(),
        merge.bases(),
        [_fanout(merge.header, (heads for heads, _ in merge.sorted()))],
        (heads for heads, _ in merge.sorted()),
        (order.astype(NUMBER) for _, order in merge.sorted()),
    )
    return rows


def heads_of(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of ids, given as four words each, as numbers that sort as the ids do."""
    first: npt.NDArray[np.uint64] = np.ascontiguousarray(ids[:, 0], dtype="<u8").view(">u8").astype(np.uint64)
    return first


def _pack_row(row: Listed) -> bytes:
    try:
        packed = PACKED_ROW.pack(row.id, row.at, row.stored, row.raw, row.codec, row.kind, 0)
    except struct.error as error:
        raise LookupError(f"a row of the pack {row.pack} is invalid: {error}") from error
    if len(row.id) != ID_BYTES or len(row.base or row.id) != ID_BYTES:
        raise LookupError(f"a row of the pack {row.pack} is invalid: an id is cut short")
    return packed


class _Merge:
    """A merge of `runs`, the oldest first: newer rows get higher numbers, and come first among those of one id."""

    def __init__(self, runs: Sequence[Run], is_listed: Flags) -> None:
        self._runs = runs
        self._keep = [is_listed[run.segments["pack"]] for run in runs]
        lengths = [np.diff(run.segments["first"].astype(np.int64), append=run.rows) for run in runs]
        self._shifts: list[Numbers] = []
        rows = deltas = 0
        for run, keep, length in zip(runs, self._keep, lengths, strict=True):
            kept = np.where(keep, length, 0)
            self._shifts.append(rows + np.cumsum(kept) - kept - run.segments["first"])
            rows += int(kept.sum())
        for _, kept_rows in self._deltas():
            deltas += len(kept_rows)
        segments = sum(int(keep.sum()) for keep in self._keep)
        self.header: RunHeader = run_format.make_header(segments, rows, deltas)

    def segments(self) -> npt.NDArray[Any]:
        found = np.empty(self.header.segments, dtype=SEGMENT)
        at = 0
        for run, keep, shift in zip(self._runs, self._keep, self._shifts, strict=True):
            kept = run.segments[keep]
            found["pack"][at : at + len(kept)] = kept["pack"]
            found["first"][at : at + len(kept)] = kept["first"] + shift[keep]
            at += len(kept)
        return found

    def rows(self) -> Arrays:
        for run, keep in zip(self._runs, self._keep, strict=True):
            ends = [*run.segments["first"].tolist()[1:], run.rows]
            for first, last, kept in zip(run.segments["first"].tolist(), ends, keep.tolist(), strict=True):
                for at in range(first, last if kept else first, _CHUNK_ROWS):
                    yield run.table[at : min(last, at + _CHUNK_ROWS)]
                    run.release()

    def delta_rows(self) -> Arrays:
        for number, rows in self._deltas():
            yield self._moved(number, rows)[0].astype(NUMBER)

    def bases(self) -> Arrays:
        for number, rows in self._deltas():
            run = self._runs[number]
            yield run.bases[np.searchsorted(run.delta_rows, rows)]

    def sorted(self) -> Iterator[tuple[npt.NDArray[np.uint64], Numbers]]:
        """Yield the heads, ascending, and the rows they belong to, in stretches."""
        largest = max(self._runs, key=lambda run: run.rows)
        step = max(1, STRETCH_ROWS // 2 // len(self._runs))
        bounds = np.unique(largest.heads[::step][1:])
        edges: list[list[int]] = []
        for run in self._runs:
            edges.append([0, *np.searchsorted(run.heads, bounds).tolist(), run.rows])
            run.release()
        for stretch in range(len(bounds) + 1):
            heads, orders = list[npt.NDArray[np.uint64]](), list[Numbers]()
            for number in reversed(range(len(self._runs))):
                run, (first, last) = self._runs[number], edges[number][stretch : stretch + 2]
                order, kept = self._moved(number, run.order[first:last].astype(np.int64))
                heads.append(run.heads[first:last][kept])
                orders.append(order)
                run.release()
            together = np.concatenate(heads)
            by_head = np.argsort(together, kind="stable")
            yield together[by_head], np.concatenate(orders)[by_head]

    def _deltas(self) -> Iterator[tuple[int, Numbers]]:
        """Yield the number of each run and the rows of its deltas that are kept, in chunks."""
        for number, run in enumerate(self._runs):
            for at in range(0, len(run.delta_rows), _CHUNK_ROWS):
                rows = run.delta_rows[at : at + _CHUNK_ROWS].astype(np.int64)
                yield number, rows[self._moved(number, rows)[1]]

    def _moved(self, number: int, rows: Numbers) -> tuple[Numbers, Flags]:
        """Return the new numbers of the rows of a run that are kept, and which of them are."""
        segments = np.searchsorted(self._runs[number].segments["first"], rows, side="right") - 1
        kept = self._keep[number][segments]
        return (rows + self._shifts[number][segments])[kept], kept


def _fanout(header: RunHeader, stretches: Iterable[npt.NDArray[np.uint64]]) -> npt.NDArray[Any]:
    counts = np.zeros((1 << header.bits) + 1, dtype=np.int64)
    for heads in stretches:
        prefixes = (heads >> np.uint64(64 - header.bits)).astype(np.int64) if header.bits else np.zeros_like(heads)
        counts[1:] += np.bincount(prefixes.astype(np.int64), minlength=1 << header.bits)
    return np.cumsum(counts).astype(NUMBER)


def _write(path: Path, header: RunHeader, *sections: Arrays) -> None:
    ensure_dir(path.parent, sure=True)
    temporary = new_temporary(path)
    try:
        with disk_errors(path, run_format.layout_of(header).size):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                _write_all(descriptor, header, sections)
            finally:
                os.close(descriptor)
        publish_file(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _write_all(descriptor: int, header: RunHeader, sections: Sequence[Arrays]) -> None:
    layout, whole = run_format.layout_of(header), blake3()
    written = 0

    def put(data: bytes | memoryview) -> None:
        nonlocal written
        write_all(descriptor, data)
        whole.update(data)
        written += len(data)

    put(run_format.encode_header(header))
    for section, arrays in zip(run_format.SECTIONS, sections, strict=True):
        put(bytes(layout.starts[section] - written))
        for array in arrays:
            if array.size:
                put(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    put(bytes(layout.end - written))
    write_all(descriptor, whole.digest())
