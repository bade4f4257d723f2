"""Stores to maintain, and ways to damage them."""

from collections.abc import Callable
from pathlib import Path

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.index import Found, open_index
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.check import CheckResult
from ptmtorrent.workflows.maintain.check import check as check_store
from ptmtorrent.workflows.maintain.inspect import Level
from tests.channels import Heard

NEVER = Stop()


def check(home: Home, level: Level = "normal") -> tuple[CheckResult, Heard]:
    heard = Heard()
    return check_store(home, level, emit=heard, stop=Stop()), heard


def packs_of(home: Home) -> dict[PackId, int]:
    index = open_index(home.store / "index.sqlite", write=False)
    try:
        return index.packs()
    finally:
        index.close()


def find(home: Home, identifier: ObjectId) -> Found:
    with Store.open(home.store) as store:
        found = store._index.find(identifier)
    assert found is not None
    return found


def pack_file(home: Home, pack: PackId) -> Path:
    return home.store / pack_path(pack)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit in place: every hard link of the file changes."""
    change(path, offset, lambda byte: byte ^ (1 << bit))


def change(path: Path, offset: int, to: Callable[[int], int]) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([to(byte)]))


def largest_object(home: Home) -> Found:
    """The longest stored object of all sealed packs."""
    with Store.open(home.store) as store:
        found = [store._index.find(entry.id) for pack in store.packs() for entry in store._index.entries(pack)]
    return max((place for place in found if place is not None), key=lambda place: place.entry.stored)
