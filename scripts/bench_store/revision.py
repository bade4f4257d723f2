"""Child: store a file, then the same file with one tensor changed; return what the second added."""

from pathlib import Path
from typing import Any

from bench_store.child import add_files, answer
from bench_store.ingest import count
from bench_store.running import disk_bytes
from ptmtorrent.store import codecs, cutters
from ptmtorrent.store.cutters import FileSource
from ptmtorrent.store.store import Store


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Return raw and coded bytes of what the second file added, and of the changed tensor by itself."""
    root, files = Path(order["store"]), order["files"]
    with Store.open(root, write=True, delta=order["delta"]) as store:
        add_files(store, files[:1], {}, 1)
        store.seal()
    before = disk_bytes(root / "packs")
    with Store.open(root, write=True, delta=order["delta"]) as store:
        # The first file again, as a new snapshot lists it: it is known to the store, and serves as the base.
        stored = add_files(store, files, order["bases"], 1)
        store.seal()
        report = count(store, stored, files)
    second = report["files"][files[1]["name"]]
    return {
        "raw": second["new_raw"],
        "coded": second["new_coded"],
        "packs": disk_bytes(root / "packs") - before,
        "tensor": _alone(Path(files[0]["path"]), Path(files[1]["path"])),
    }


def _alone(first: Path, second: Path) -> int:
    """Return the coded size of the pieces in which two files of one layout differ."""
    with first.open("rb") as old, second.open("rb") as new:
        source = FileSource(new.fileno(), second)
        sizes = 0
        for piece in cutters.cut(source, second.name).pieces:
            old.seek(piece.offset)
            data = source.read(piece.offset, piece.length)
            if data != old.read(piece.length):
                sizes += codecs.encode(data, piece.dtype).size
        return sizes


if __name__ == "__main__":
    answer(measure)
