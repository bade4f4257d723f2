"""Objects that are salvaged or fetched from other channels are deltas only where their base can be one."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.placement import Location
from ptmtorrent.store import codecs
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.fetch_lost import fetch_lost
from ptmtorrent.workflows.maintain.sources import ChannelObject, RepairSource
from tests.store.samples import GATED, WEIGHTS, bf16, name_of, writing
from tests.store.test_hostile import changed

WORDS = 20_000
FIRST = bf16(WORDS)
SECOND, THIRD = changed(FIRST, 1), changed(FIRST, 2)


class Elsewhere:
    """A channel that has `data` as a delta of `base`, in an open pack."""

    def __init__(self, data: bytes, base: bytes) -> None:
        encoded = codecs.encode_delta(data, base, "BF16")
        assert encoded is not None
        self.payload, self.data = b"".join(encoded.chunks), data
        at = Location(pack="0" * 64, pack_size=1 << 22, offset=0, length=len(self.payload), codec=encoded.codec)  # type: ignore[arg-type]
        under = ChannelObject(id=name_of(base), raw=len(base), kind="data", at=at)
        self.place = ChannelObject(id=name_of(data), raw=len(data), kind="data", at=at, base=under)

    def find(self, wanted: set[ObjectId]) -> Iterator[ChannelObject]:
        return (place for place in [self.place] if place.id in wanted)

    def read_object(self, place: ChannelObject) -> tuple[bytes, bytes]:
        assert place is self.place
        return self.payload, self.data

    def class_of(self, pack: str) -> PackClass:
        assert pack == self.place.at.pack
        return WEIGHTS


def fetch(store: Store, data: bytes, base: bytes, rights: Rights = "open") -> None:
    store.commit()
    reasons: list[str] = []
    channel = cast("RepairSource", Elsewhere(data, base))
    assert fetch_lost(store, [name_of(data)], {name_of(data): rights}, channel, reasons) == 1
    assert reasons == []
    assert store.read(name_of(data)) == data


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with writing(tmp_path / "store") as store:
        yield store


def put_delta(store: Store, data: bytes, base: bytes) -> None:
    fetch(store, data, base)
    assert store.base_of(name_of(data)) == name_of(base)


def test_a_delta_is_fetched_as_it_is_where_its_base_is_here(store: Store) -> None:
    store.put(FIRST, dtype="BF16", pack_class=WEIGHTS)
    put_delta(store, SECOND, FIRST)


def test_a_delta_whose_base_is_a_delta_here_is_put_plain(store: Store) -> None:
    store.put(FIRST, dtype="BF16", pack_class=WEIGHTS)
    put_delta(store, SECOND, FIRST)
    fetch(store, THIRD, SECOND)
    assert store.base_of(name_of(THIRD)) is None


def test_an_open_delta_is_put_plain_where_its_base_is_gated(store: Store) -> None:
    store.put(FIRST, dtype="BF16", pack_class=GATED)
    fetch(store, SECOND, FIRST)
    assert store.base_of(name_of(SECOND)) is None
    fetch(store, THIRD, FIRST, "gated")
    assert store.base_of(name_of(THIRD)) == name_of(FIRST)


def test_a_base_that_the_channel_has_as_a_delta_comes_plain(store: Store) -> None:
    store.put(FIRST, dtype="BF16", pack_class=WEIGHTS)
    store.put(SECOND, dtype="BF16", pack_class=WEIGHTS)
    (pack,) = store.seal()
    put_delta(store, THIRD, SECOND)
    with store._index.transaction():
        store._index.drop(pack)
    store.put(FIRST, dtype="BF16", pack_class=WEIGHTS)
    fetch(store, SECOND, FIRST)
    assert store.base_of(name_of(SECOND)) is None
    assert store.read(name_of(THIRD)) == THIRD
