"""The store's index alone: synthetic rows through its own interface, and a store with a full open part.

Making `rows` names packs of 20,000 objects with random ids, one after the other, as sealing does, merges included.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench_store.running import disk_bytes

from bench_scale.running import Cost, measure

ROWS_A_PACK = 20_000
LOOKUPS = 100_000
PACK_BYTES, PART_BYTES = 1 << 28, 250 << 20
SAMPLE = 64
"""One in this many ids is kept to be looked up."""

MAKE_INDEX, LOOK_UP, LOOK_UP_ONE = "index, rows added", "index, 100,000 look-ups", "index, one look-up"
OPEN_FULL_PART = "store open, full open part"
INDEX_NAMES = (MAKE_INDEX, LOOK_UP, LOOK_UP_ONE, OPEN_FULL_PART)


def index_of_rows(folder: Path, rows: int) -> Iterator[tuple[str, Cost]]:
    """Make an index of that number of rows, look objects up in it, and open a store whose open part is full.

    Raises:
        Broken: one of them failed.
    """
    home = folder / "index-home"
    home.mkdir()
    seen = _seen(folder)
    cost = measure(folder, "index-make", str(home), str(rows), str(seen))
    said = json.loads(seen.read_text())
    yield MAKE_INDEX, replace(cost, kept=disk_bytes(home), written=said["written"])
    for name, count in ((LOOK_UP, LOOKUPS), (LOOK_UP_ONE, 1)):
        cost = measure(folder, "index-find", str(home), str(count), str(seen))
        yield name, replace(cost, wall=json.loads(seen.read_text())["seconds"])
    store = folder / "part-home" / "store"
    measure(folder, "part-make", str(store))
    cost = measure(folder, "part-open", str(store), str(seen))
    yield OPEN_FULL_PART, replace(cost, wall=json.loads(seen.read_text())["seconds"])


def _seen(folder: Path) -> Path:
    return folder / "seen.json"


def make_index(home: Path, rows: int, seen: Path) -> None:
    """Add `rows` objects in packs, settling the index after each; write down what its runs wrote."""
    from ptmtorrent.model.ids import ObjectId, PackId
    from ptmtorrent.store.index import open_index, run_writer
    from ptmtorrent.store.pack.format import Entry

    source, written, kept = random.Random(rows), 0, list[str]()  # noqa: S311  # the same ids on every machine
    write = run_writer._write  # noqa: SLF001  # what every run is written with

    def count(path: Path, *arguments: object) -> None:
        nonlocal written
        write(path, *arguments)  # type: ignore[arg-type]
        written += path.stat().st_size

    run_writer._write = count  # noqa: SLF001
    index = open_index(home / "index.sqlite", write=True)
    for number in range(max(1, rows // ROWS_A_PACK)):
        names = [source.randbytes(32).hex() for _ in range(min(rows, ROWS_A_PACK))]
        entries = [
            Entry(id=ObjectId(name), offset=1000 * at, stored=900, raw=1000, codec=2, kind="data")
            for at, name in enumerate(names)
        ]
        kept += names[number % SAMPLE :: SAMPLE]
        with index.transaction():
            index.add_objects(index.row_of_pack(PackId(source.randbytes(32).hex()), PACK_BYTES, "open"), entries)
        index.settle()
    index.close()
    (home / "names.txt").write_text("\n".join(source.sample(kept, min(len(kept), LOOKUPS))))
    seen.write_text(json.dumps({"written": written}))


def find_in_index(home: Path, count: int, seen: Path) -> None:
    """Look `count` objects up at once, half of them unknown; write down how long it took."""
    from ptmtorrent.model.ids import ObjectId
    from ptmtorrent.store.index import open_index

    source = random.Random(7)  # noqa: S311
    known = (home / "names.txt").read_text().split()
    wanted = [ObjectId(known[number % len(known)]) for number in range((count + 1) // 2)]
    wanted += [ObjectId(source.randbytes(32).hex()) for _ in range(count - len(wanted))]
    index = open_index(home / "index.sqlite", write=False)
    began = time.monotonic()
    found = index.find_all(wanted)
    seconds = time.monotonic() - began
    index.close()
    if sum(one is not None for one in found) != (count + 1) // 2:
        raise SystemExit("the index lost objects")
    seen.write_text(json.dumps({"seconds": seconds}))


def make_full_part(store: Path) -> None:
    """Fill an open part to just below the size at which it is sealed, with objects of 64 KiB, and commit it."""
    from ptmtorrent.store.pack.format import PackClass
    from ptmtorrent.store.store import Store

    source, size = random.Random(5), 64 << 10  # noqa: S311
    with Store.open(store, write=True) as opened:
        for _ in range(PART_BYTES // size):
            opened.put(source.randbytes(size), pack_class=PackClass("weights-hot", "open"))


def open_full_part(store: Path, seen: Path) -> None:
    """Open a store for writing and close it again; write down how long that took."""
    from ptmtorrent.store.store import Store

    began = time.monotonic()
    with Store.open(store, write=True):
        pass
    seen.write_text(json.dumps({"seconds": time.monotonic() - began}))
