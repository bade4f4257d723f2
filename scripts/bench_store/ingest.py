"""Child: add files to a new store and seal it; return the cost, and the stored bytes of each file."""

from pathlib import Path
from typing import Any

from bench_store.child import Clock, add_files, answer
from ptmtorrent.store.pack.format import MAX_RECORD_BYTES, RECORD_BYTES, ROW_BYTES
from ptmtorrent.store.store import Store, StoredFile


def ingest(order: dict[str, Any]) -> dict[str, Any]:
    """Run the order; stored bytes are counted after the clock is read."""
    clock = Clock()
    with Store.open(Path(order["store"]), write=True, memory=order["memory"], delta=order["delta"]) as store:
        stored = add_files(store, order["files"], order["bases"], order["jobs"])
        store.seal()
    spent = clock.spent()
    with Store.open(Path(order["store"])) as store:
        return spent | count(store, stored, order["files"])


def count(store: Store, stored: list[StoredFile], files: list[dict[str, Any]]) -> dict[str, Any]:
    """Count each object once, for the first file that has it: raw bytes, and stored bytes with their headers."""
    seen: set[str] = set()
    report = {}
    deltas = 0
    for file, known in zip(files, stored, strict=True):
        raw = coded = 0
        for identifier, size in known.objects:
            if identifier in seen:
                continue
            seen.add(identifier)
            has_base = store.base_of(identifier) is not None
            deltas += has_base
            raw += size
            coded += store.location(identifier).length + ROW_BYTES + (MAX_RECORD_BYTES if has_base else RECORD_BYTES)
        report[file["name"]] = {
            "objects": [identifier for identifier, _ in known.objects],
            "blake3": known.blake3,
            "cutter": known.cutter,
            "new_raw": raw,
            "new_coded": coded,
        }
    return {"files": report, "objects": len(seen), "deltas": deltas}


if __name__ == "__main__":
    answer(ingest)
