"""A delta cannot be read without its base: losses, references and deletion take that into account."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.gc import gc as collect
from ptmtorrent.workflows.maintain.info import info as read_info
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard
from tests.store.test_deltas import weights
from tests.workflows.captured import TickingClock, capture
from tests.workflows.maintain.stores import check, flip, pack_file

FIRST, LATER = "2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z"


@dataclass(frozen=True)
class Family:
    """A base and its fine-tune in packs of their own, the deltas of the second by their bases."""

    home: Home
    deltas: dict[ObjectId, ObjectId]
    base_pack: PackId
    delta_pack: PackId


@pytest.fixture
def family(home: Home, tmp_path: Path) -> Family:
    with Store.open(home.store, write=True) as store:
        capture(store, tmp_path, "hf:a/base", {"model.safetensors": weights()}, captured=FIRST)
        store.seal()
        fine_tune = weights(0.002).replace(b'"pt"', b'"np"', 1)  # a header of its own: they share nothing but by deltas
        tuned = capture(store, tmp_path, "hf:b/tuned", {"model.safetensors": fine_tune}, captured=FIRST)
        store.seal()
        deltas = {item: base for item, _ in tuned.objects if (base := store.base_of(item)) is not None}
        delta, base = next(iter(deltas.items()))
        return Family(home, deltas, store.location(base).pack, store.location(delta).pack)


def damage(family: Family, identifier: ObjectId) -> None:
    with Store.open(family.home.store) as store:
        place = store.location(identifier)
    flip(pack_file(family.home, place.pack), place.offset + place.length // 2)


def forget_base(family: Family, tmp_path: Path) -> None:
    """Capture the base's package again, without weights: the base is then in no current capture."""
    with Store.open(family.home.store, write=True) as store:
        capture(store, tmp_path, "hf:a/base", {"README.md": b"moved away"}, captured=LATER)
        store.seal()


def gc(family: Family) -> set[PackId]:
    heard = Heard()
    collect(family.home, grace=timedelta(0), clock=TickingClock(), emit=heard)
    return {PackId(pack) for pack in heard.results}


def test_a_store_with_deltas_passes_every_check(family: Family) -> None:
    assert family.deltas
    assert family.base_pack != family.delta_pack
    for level in ("quick", "normal", "data"):
        assert check(family.home, level)[0].findings == ()


def test_a_damaged_delta_is_named(family: Family) -> None:
    delta = next(iter(family.deltas))
    damage(family, delta)
    (finding,) = check(family.home, "data")[0].findings
    assert (finding.pack, finding.object, finding.packages) == (family.delta_pack, delta, ("hf:b/tuned",))


def test_a_damaged_base_is_named_once_with_all_packages_that_need_it(family: Family) -> None:
    base = next(iter(family.deltas.values()))
    damage(family, base)
    (finding,) = check(family.home, "data")[0].findings
    assert (finding.pack, finding.object) == (family.base_pack, base)
    assert finding.packages == ("hf:a/base", "hf:b/tuned")


def test_a_package_whose_base_is_gone_is_incomplete(family: Family) -> None:
    pack_file(family.home, family.base_pack).unlink()
    heard = check(family.home)[1]
    assert "hf:b/tuned" in heard.results[family.base_pack].reason


def test_gc_keeps_the_base_of_a_live_delta(family: Family, tmp_path: Path) -> None:
    forget_base(family, tmp_path)
    assert family.base_pack not in gc(family)
    assert check(family.home, "data")[0].findings == ()
    with Store.open(family.home.store) as store:
        for delta in family.deltas:
            assert store.read(delta)


def test_gc_deletes_bases_once_their_deltas_are_dead(family: Family, tmp_path: Path) -> None:
    forget_base(family, tmp_path)
    with Store.open(family.home.store, write=True) as store:
        capture(store, tmp_path, "hf:b/tuned", {"README.md": b"moved too"}, captured=LATER)
    assert {family.base_pack, family.delta_pack} <= gc(family)
    assert check(family.home, "data")[0].findings == ()


def test_gc_keeps_the_bases_of_objects_in_packs_that_stay(family: Family, tmp_path: Path) -> None:
    """A dead delta in a pack that a release needs can still be read."""
    from ptmtorrent.model.records import ignore
    from ptmtorrent.trust.keys import init_keys, load_keys
    from ptmtorrent.workflows.release.release import release

    init_keys(family.home.keys, None)
    keys = load_keys(family.home.keys, lambda: None)
    release("r1", family.home, keys, clock=TickingClock(), emit=ignore)  # type: ignore[arg-type]  # of the test
    forget_base(family, tmp_path)
    with Store.open(family.home.store, write=True) as store:
        capture(store, tmp_path, "hf:b/tuned", {"README.md": b"moved too"}, captured=LATER)
    assert not {family.base_pack, family.delta_pack} & gc(family)
    with Store.open(family.home.store) as store:
        assert all(store.read(delta) for delta in family.deltas)


def test_a_lost_base_takes_its_deltas_and_their_packages_with_it(family: Family) -> None:
    base = next(iter(family.deltas.values()))
    damage(family, base)
    repaired = repair(family.home, None, emit=Heard(), stop=Stop())
    assert repaired.incomplete == ("hf:a/base", "hf:b/tuned")
    with Store.open(family.home.store) as store:
        assert not store.has(base)
        assert not any(store.has(delta) for delta, of in family.deltas.items() if of == base)
        assert store.captures() == []
    assert check(family.home, "data")[0].findings == ()


def test_whole_deltas_of_a_damaged_pack_stay_deltas(family: Family) -> None:
    first, second = family.deltas
    damage(family, first)
    repair(family.home, None, emit=Heard(), stop=Stop())
    with Store.open(family.home.store) as store:
        assert store.base_of(second) == family.deltas[second]
        assert store.read(second)
        assert not store.has(first)
    assert check(family.home, "data")[0].findings == ()


def test_whole_bases_of_a_damaged_pack_still_serve_their_deltas(family: Family) -> None:
    first, second = family.deltas
    damage(family, family.deltas[first])
    repair(family.home, None, emit=Heard(), stop=Stop())
    with Store.open(family.home.store) as store:
        assert store.read(second)
        assert store._index.find(family.deltas[second]).entry.base is None  # type: ignore[union-attr]  # it was read


def test_ratios_come_from_what_was_counted(family: Family) -> None:
    info = read_info(family.home, 10)
    assert info.raw == len(weights()) + len(weights(0.002))
    assert info.deltas.objects == len(family.deltas)
    assert info.deltas.raw > 4 * info.deltas.stored
    assert info.plain.raw > info.plain.stored
    assert info.unique == info.plain.raw + info.deltas.raw
    parts = (info.plain, info.deltas, info.documents, info.bases, info.rest)
    assert info.stored == info.heads + info.frames + sum(share.stored for share in parts)
    assert [package for package, _ in info.top] == ["hf:a/base", "hf:b/tuned"]


def test_what_only_deltas_need_is_counted_separately(family: Family, tmp_path: Path) -> None:
    forget_base(family, tmp_path)
    info = read_info(family.home, 10)
    assert info.bases.objects == len(set(family.deltas.values()))
    assert info.rest.objects > 0
