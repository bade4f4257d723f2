"""A pack that is missing for a while causes no permanent loss."""

from datetime import timedelta
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.gc import gc as collect
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard, Made, capture, clock, safetensors
from tests.workflows.maintain.stores import check, pack_file
from tests.workflows.tuned import BASE, bases, deltas, make_tuned_channel, stored_files, tune, weights


@pytest.fixture
def tuned(tmp_path: Path) -> Made:
    return make_tuned_channel(tmp_path)


def base_pack(made: Made) -> PackId:
    return next(iter(bases(made).values()))[0]


def absent(made: Made, identifiers: "dict[ObjectId, object] | list[ObjectId]") -> list[ObjectId]:
    with Store.open(made.home.store) as store:
        return [identifier for identifier in identifiers if not store.has(identifier)]


def test_a_pack_of_bases_that_is_put_back_brings_their_deltas_back(tuned: Made, tmp_path: Path) -> None:
    pack = pack_file(tuned.home, base_pack(tuned))
    pack.rename(tmp_path / "away")
    with Store.open(tuned.home.store, write=True):
        assert len(absent(tuned, dict(deltas(tuned)))) == len(deltas(tuned)) > 0
    (tmp_path / "away").rename(pack)
    with Store.open(tuned.home.store, write=True) as store:
        assert all(store.read(identifier) for identifier in deltas(tuned))
    assert check(tuned.home, "data")[0].findings == ()


def test_a_pack_of_bases_that_is_repaired_costs_no_package(tuned: Made) -> None:
    """Our own channel has a hard link to the pack."""
    pack_file(tuned.home, base_pack(tuned)).unlink()
    repaired = repair(tuned.home, None, emit=Heard(), stop=Stop())
    assert repaired.repaired == (base_pack(tuned),)
    assert repaired.incomplete == ()
    assert absent(tuned, dict(deltas(tuned))) == []
    assert check(tuned.home, "data")[0].findings == ()


def test_deltas_in_a_part_without_their_bases_harm_no_object_after_them(tuned: Made, tmp_path: Path) -> None:
    with Store.open(tuned.home.store, write=True) as store:
        known = stored_files(store, tuned.packages[BASE])
        files = {"model.safetensors": safetensors(tune(weights(1), 9))}
        third = capture(store, tmp_path, "hf:org/third", files, bases=known)
        fourth = capture(store, tmp_path, "hf:org/fourth", {"model.safetensors": safetensors(weights(77, 5))})
        waiting = [identifier for identifier, _ in third.objects if store.base_of(identifier) is not None]
    assert waiting
    pack = pack_file(tuned.home, base_pack(tuned))
    pack.rename(tmp_path / "away")
    with Store.open(tuned.home.store, write=True) as store:
        assert absent(tuned, waiting) == waiting
        assert all(store.read(identifier) for identifier, _ in fourth.objects)
        store.seal()
    (tmp_path / "away").rename(pack)
    with Store.open(tuned.home.store, write=True) as store:
        assert all(store.read(identifier) for identifier, _ in third.objects)


def test_a_delta_without_its_base_can_be_stored_again(tuned: Made, tmp_path: Path) -> None:
    pack_file(tuned.home, base_pack(tuned)).rename(tmp_path / "away")
    with Store.open(tuned.home.store, write=True) as store:
        again = capture(store, tmp_path, "hf:org/again", {"model.safetensors": safetensors(tune(weights(1), 2))})
        store.seal()
        assert all(store.read(identifier) for identifier, _ in again.objects)


def test_gc_refuses_while_packs_are_missing(tuned: Made, tmp_path: Path) -> None:
    """References come from manifests, and the manifests may be in the missing packs."""
    pack_file(tuned.home, base_pack(tuned)).rename(tmp_path / "away")
    with pytest.raises(StoreError, match=base_pack(tuned)):
        collect(tuned.home, grace=timedelta(0), clock=clock, emit=Heard())
    repair(tuned.home, None, emit=Heard(), stop=Stop())
    collect(tuned.home, grace=timedelta(0), clock=clock, emit=Heard())
