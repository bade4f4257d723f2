from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.ids import object_id
from ptmtorrent.store.lookup import Lookup
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store

META = PackClass("meta", "open")


def test_prefetched_and_other_objects_are_where_the_store_says(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", write=True) as store:
        ids = [store.put(bytes([number]) * 100, pack_class=META) for number in range(5)]
        store.seal()
        missing = object_id(b"missing")
        with Lookup(store) as lookup:
            lookup.prefetch([*ids[:3], missing])
            assert [lookup.location(each) for each in ids] == [store.location(each) for each in ids]
            assert [lookup.base_of(each) for each in ids] == [None] * 5
            assert [lookup.read(each) for each in ids] == [bytes([number]) * 100 for number in range(5)]
            pack = lookup.location(ids[0]).pack
            assert lookup.pack_hashes(pack) == store.pack_hashes(pack)
            for ask in (lookup.location, lookup.base_of, lookup.read):
                with pytest.raises(NotFound):
                    ask(missing)


def test_an_object_that_is_not_sealed_has_no_location(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", write=True) as store, Lookup(store) as lookup:
        identifier = store.put(b"open", pack_class=META)
        lookup.prefetch([identifier])
        assert lookup.read(identifier) == b"open"
        with pytest.raises(NotFound, match="not in a sealed pack"):
            lookup.location(identifier)


def test_a_damaged_object_is_not_read(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", write=True) as store:
        identifier = store.put(b"x" * 100, pack_class=META)
        store.seal()
        place = store.location(identifier)
        with store.pack_file(place.pack).open("r+b") as file:
            file.seek(place.offset)
            file.write(b"\xff\xff\xff")
        with Lookup(store) as lookup:
            lookup.prefetch([identifier])
            with pytest.raises(IntegrityError):
                lookup.read(identifier)


def test_packs_stay_open_up_to_a_limit(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", write=True) as store:
        ids = []
        for number in range(20):
            ids.append(store.put(bytes([number]) * 50, pack_class=META))
            store.seal()
        with Lookup(store) as lookup:
            lookup.prefetch(ids)
            assert [lookup.read(each) for each in (*ids, *ids)] == [bytes([n]) * 50 for n in (*range(20), *range(20))]
            assert len(lookup._open) == 16
        assert not lookup._open
