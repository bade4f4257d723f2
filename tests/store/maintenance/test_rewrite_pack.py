"""Objects of a pack stored again in a pack of their own: what is copied, what stays, and what a new index says."""

import shutil
from pathlib import Path

import pytest

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.store import codecs
from ptmtorrent.store.maintenance.rewrite_pack import rewrite_pack, store_whole
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import open_pack, pack_in
from ptmtorrent.store.store import Store
from tests.channels import safetensors
from tests.store.samples import META, name_of, random_bytes
from tests.workflows.captured import capture
from tests.workflows.tuned import stored_files, tune, weights

DATA = [random_bytes(5_000, seed) for seed in range(4)]
KEPT = {name_of(DATA[0]), name_of(DATA[2])}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fill(store: Store) -> PackId:
    for data in DATA:
        store.put(data, pack_class=META)
    (pack,) = store.seal()
    return pack


def keep(entry: Entry) -> bool:
    return entry.id in KEPT


def listed(root: Path, pack: PackId) -> list[ObjectId]:
    with open_pack(pack_in(root, pack)) as reader:
        return [entry.id for entry in reader.footer()]


def test_what_is_kept_is_read_from_a_pack_that_holds_nothing_else(root: Path) -> None:
    with Store.open(root, exclusive=True) as store:
        pack = fill(store)
        before = store.pack_file(pack).read_bytes()
        made = rewrite_pack(store, pack, keep)

        assert made is not None
        assert listed(root, made.pack) == [name_of(DATA[0]), name_of(DATA[2])]
        where = {name_of(data): store.location(name_of(data)).pack for data in DATA}
        assert {identifier for identifier, place in where.items() if place == made.pack} == KEPT
        assert [store.read(name_of(data)) for data in DATA] == DATA
        assert store.pack_file(pack).read_bytes() == before
        assert store.pack_hashes(made.pack) == made
        assert name_of(store.pack_file(made.pack).read_bytes()) == made.pack


def test_the_same_choice_makes_the_same_pack_after_the_index_was_made_again(root: Path) -> None:
    with Store.open(root, exclusive=True) as store:
        pack = fill(store)
        made = rewrite_pack(store, pack, keep)
        assert made is not None
        store.rebuild_index()
        assert [store.read(name_of(data)) for data in DATA] == DATA
        again = [rewrite_pack(store, found, keep) for found in store.packs()]

        assert {found.pack for found in again if found is not None} == {made.pack}
        assert store.packs() == sorted([pack, made.pack])
        assert {store.location(identifier).pack for identifier in KEPT} == {made.pack}


def test_a_damaged_object_stays_where_it_is(root: Path) -> None:
    with Store.open(root, exclusive=True) as store:
        pack = fill(store)
        at = store.location(name_of(DATA[0])).offset
        with store.pack_file(pack).open("r+b") as file:
            file.seek(at)
            file.write(bytes([DATA[0][0] ^ 1]))
        made = rewrite_pack(store, pack, keep)

        assert made is not None
        assert listed(root, made.pack) == [name_of(DATA[2])]
        assert store.location(name_of(DATA[0])).pack == pack


def test_nothing_to_keep_makes_no_pack_and_leaves_no_file(root: Path) -> None:
    with Store.open(root, exclusive=True) as store:
        pack = fill(store)
        assert rewrite_pack(store, pack, lambda _: False) is None
        assert store.packs() == [pack]
    assert [path.name for path in (root / "open").iterdir()] == []


def test_a_part_of_an_adopted_pack_is_no_more_believed_than_the_pack(root: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "elsewhere", exclusive=True) as other:
        theirs = fill(other)
        shutil.copy(other.pack_file(theirs), tmp_path / "incoming")
    with Store.open(root, exclusive=True) as store:
        store.adopt_pack(tmp_path / "incoming", theirs)
        made = rewrite_pack(store, theirs, keep)

        assert made is not None
        known = read_sidecar(root, made.pack)
        assert known is not None
        assert known[1] is False


def test_a_delta_whose_base_is_lost_stays_where_it_is_and_the_others_go_along(root: Path, tmp_path: Path) -> None:
    base = weights(1, 2, 8_000)
    files = {"model.safetensors": safetensors(base)}
    tuned = {"model.safetensors": safetensors(tune(base, 2)), "other.safetensors": safetensors(weights(7, 2, 8_000))}
    with Store.open(root, exclusive=True) as store:
        capture(store, tmp_path, "hf:org/base", files)
        lost = store.seal()
        capture(store, tmp_path, "hf:org/tuned", tuned, bases=stored_files(store, files))
        packs = store.seal()
        for pack in lost:
            store.pack_file(pack).unlink()
    with Store.open(root, exclusive=True) as store:
        [pack] = [each for each in packs if any(entry.base for entry in store.contents.entries(each))]
        before = store.contents.entries(pack)
        made = rewrite_pack(store, pack, lambda _: True)

        assert made is not None
        plain = [entry.id for entry in before if entry.base is None]
        assert plain
        assert len(plain) < len(before)
        assert listed(root, made.pack) == plain


def test_a_delta_that_is_stored_whole_needs_its_base_no_more(root: Path, tmp_path: Path) -> None:
    base = weights(1, 2, 8_000)
    files = {"model.safetensors": safetensors(base)}
    tuned = {"model.safetensors": safetensors(tune(base, 2))}
    with Store.open(root, exclusive=True) as store:
        capture(store, tmp_path, "hf:org/base", files)
        manifest = capture(store, tmp_path, "hf:org/tuned", tuned, bases=stored_files(store, files))
        packs = store.seal()
        deltas = [(pack, entry) for pack in packs for entry in store.contents.entries(pack) if entry.base is not None]
        for pack, entry in deltas:
            store_whole(store, pack, entry)
        store.seal()

        assert deltas
        for rebuilt in (False, True):
            if rebuilt:
                store.rebuild_index()
            assert [store.base_of(identifier) for identifier, _ in manifest.objects] == [None] * len(manifest.objects)
            assert {store.location(entry.id).codec for _, entry in deltas} == {codecs.BF16}
            whole = {store.location(entry.id).pack for _, entry in deltas}
            assert not whole & set(packs)
