"""Releases of packages stored as deltas: what is left out, and what bases cost whoever reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError, NotFound, PtmError, StoreError
from ptmtorrent.model.ids import ObjectId, PackId, ReleaseName
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pack_use import decode_use
from ptmtorrent.model.placement import DELTA_CODECS, Location
from ptmtorrent.model.records import Result
from ptmtorrent.model.subset import SubsetRule
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import load_keys
from ptmtorrent.workflows.release.locate import locate
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.release.stats import Tallies
from tests.channels import Heard, Made, clock
from tests.model.generated import hex64, manifest_of, new_capture
from tests.workflows.tuned import BASE, TUNED, bases, deltas, make_tuned_channel

BASE_ID = ObjectId(hex64("base"))
MANIFEST = manifest_of("hf:org/tuned", [("model.safetensors", b"weights"), ("config.json", b"{}")])
WEIGHTS, CONFIG = (identifier for identifier, _ in MANIFEST.objects)


@dataclass
class FakeStore:
    """What `locate` asks of a store."""

    places: dict[ObjectId, Location]
    bases: dict[ObjectId, ObjectId] = field(default_factory=dict)
    rights: Mapping[str, Rights] = field(default_factory=dict)

    def location(self, identifier: ObjectId) -> Location:
        if identifier not in self.places:
            raise NotFound(f"no object `{identifier}`")
        return self.places[identifier]

    def base_of(self, identifier: ObjectId) -> ObjectId | None:
        return self.bases.get(identifier)

    def pack_hashes(self, pack: PackId) -> PackHashes:
        names = {hex64(name): rights for name, rights in self.rights.items()}
        return PackHashes(
            pack=pack, size=4 << 20, pieces_v1=b"", root_v2=b"", layer_v2=b"", rights=names.get(pack, "open")
        )


def place(pack: str, codec: int) -> Location:
    return Location(pack=PackId(hex64(pack)), pack_size=4 << 20, offset=100, length=2, codec=codec)


def store_of(**changes: object) -> FakeStore:
    places = {WEIGHTS: place("deltas", 7), CONFIG: place("meta", 0), BASE_ID: place("bases", 3)}
    known: dict[str, object] = {"places": places, "bases": {WEIGHTS: BASE_ID}, **changes}
    return FakeStore(**known)  # type: ignore[arg-type]  # spelled by the test


def located(store: FakeStore, rights: Rights = "open") -> object:
    return locate(store, MANIFEST, rights)  # type: ignore[arg-type]  # as much of a store as is asked


def without(identifier: ObjectId) -> dict[ObjectId, Location]:
    return {name: at for name, at in store_of().places.items() if name != identifier}


def test_every_delta_has_its_base_beside_it() -> None:
    places = locate(store_of(), MANIFEST, "open")  # type: ignore[arg-type]  # as much of a store as is asked
    by_name = dict(zip((name for name, _ in MANIFEST.objects), places.bases, strict=True))
    assert by_name[CONFIG] is None
    base = by_name[WEIGHTS]
    assert base is not None
    assert (base.id, base.size, base.at) == (BASE_ID, 7, place("bases", 3))


@pytest.mark.parametrize(
    ("store", "error", "named"),
    [
        (store_of(places=without(BASE_ID)), IntegrityError, BASE_ID),
        (store_of(places=without(WEIGHTS)), NotFound, "model.safetensors"),
        (store_of(bases={}), IntegrityError, WEIGHTS),
        (store_of(places={**without(BASE_ID), BASE_ID: place("bases", 8)}), IntegrityError, "delta itself"),
        (store_of(rights={"bases": "gated"}), StoreError, "which is gated"),
        (store_of(rights={"bases": "restricted"}), StoreError, "which is restricted"),
        (store_of(rights={"deltas": "restricted"}), StoreError, "which is restricted"),
    ],
)
def test_a_delta_without_a_base_that_may_go_along_is_refused(
    store: FakeStore, error: type[PtmError], named: str
) -> None:
    with pytest.raises(error) as caught:
        located(store)
    assert named in caught.value.message


def test_a_restricted_package_may_lean_on_open_packs_and_on_restricted_ones() -> None:
    assert located(store_of(rights={"deltas": "restricted", "bases": "restricted"}), "restricted")
    assert located(store_of(rights={"deltas": "restricted"}), "restricted")


def test_a_base_counts_once_wherever_a_delta_needs_it() -> None:
    everything = SubsetRule(name="all", query="", takes=lambda _: True)
    metadata = SubsetRule(name="metadata", query="", takes=lambda _: True, only=("config",))
    tallies = Tallies([everything, metadata])
    places = locate(store_of(), MANIFEST, "open")  # type: ignore[arg-type]  # as much of a store as is asked

    for name in ("hf:org/one", "hf:org/two"):
        tallies.add_package(new_capture(name), MANIFEST, places, documents=0)
    uses = tallies.finish({})

    [whole, small] = [tally for _, tally in tallies.subsets]
    assert set(whole.packs) == set(tallies.whole.packs) == {hex64("deltas"), hex64("meta"), hex64("bases")}
    assert set(small.packs) == {hex64("meta")}
    assert (whole.stored, small.stored) == (3 * 2, 2)

    later = Tallies([everything, metadata], [tallies.whole, whole, small])
    later.add_package(new_capture("hf:org/one"), MANIFEST, places, documents=0, sign=-1)
    once = later.finish({pack: decode_use(use.encode()) for pack, use in uses.items()})
    assert (whole.packages, whole.stored, len(whole.packs)) == (1, 3 * 2, 3)

    last = Tallies([everything, metadata], [tallies.whole, whole, small])
    last.add_package(new_capture("hf:org/two"), MANIFEST, places, documents=0, sign=-1)
    last.finish(once)
    assert (whole.packages, whole.stored, whole.packs, small.stored, small.packs) == (0, 0, {}, 0, {})


def test_the_model_and_the_store_agree_which_codecs_are_deltas() -> None:
    assert codecs.DELTA_CODECS == DELTA_CODECS


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_tuned_channel(tmp_path)


def test_the_packs_of_bases_are_in_the_volumes_also_when_only_the_fine_tune_is_in_a_subset(made: Made) -> None:
    home, heard = made.home, Heard()
    rule = SubsetRule(name="tuned", query="", takes=lambda capture: capture.package == TUNED)

    result = release(
        ReleaseName("2026.12"), home, load_keys(home.keys, lambda: None), clock=clock, emit=heard, rules=[rule]
    )

    assert result.volumes == made.release.volumes
    stored = sum(entry.stored for _, entry in (*bases(made).values(), *deltas(made).values()))
    assert result.subset("tuned").stored >= stored
    sizes = {path.stem: path.stat().st_size for path in made.folder.rglob("*.pack")}
    needed = {pack for pack, _ in (*bases(made).values(), *deltas(made).values())}
    assert result.subset("tuned").packs_bytes >= sum(sizes[pack] for pack in needed)


def test_a_second_release_writes_the_same_placements(made: Made) -> None:
    home = made.home
    packs = sorted(path.name for path in home.store.rglob("*.pack"))

    second = release(ReleaseName("2026.12"), home, load_keys(home.keys, lambda: None), clock=clock, emit=Heard())

    assert [run.documents[0].blake3 for run in second.runs] == [run.documents[0].blake3 for run in made.release.runs]
    assert sorted(path.name for path in home.store.rglob("*.pack")) == packs


def test_fine_tunes_whose_base_is_gone_are_left_out_and_named(made: Made) -> None:
    home = made.home
    [pack] = {pack for pack, _ in bases(made).values()}
    with Store.open(home.store) as store:
        store.pack_file(pack).unlink()
    with Store.open(home.store, write=True) as store:
        assert {capture.package for capture in store.captures()} == {BASE, TUNED}
    heard = Heard()

    with pytest.raises(StoreError, match="none of the 2"):
        release(ReleaseName("2026.12"), home, load_keys(home.keys, lambda: None), clock=clock, emit=heard)

    left_out = {name: record for name, record in heard.results.items() if isinstance(record, Result)}
    assert {record.status for record in left_out.values()} == {"error"}
    assert "model.safetensors" in left_out[TUNED].reason
