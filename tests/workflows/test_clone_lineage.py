"""What a clone stores deltas against, and what a second revision costs."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.demo.package import Package, PackageFile, data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.model.ids import ObjectId, SnapshotId
from ptmtorrent.paths import Home
from ptmtorrent.state.clone_journal import Journal, NewPlan
from ptmtorrent.stop import Stop
from ptmtorrent.store import codecs
from ptmtorrent.store.ingest.delta_base import Sketch
from ptmtorrent.store.store import Store
from ptmtorrent.store.stored_file import StoredFile
from ptmtorrent.workflows.clone.clone import CloneRequest
from ptmtorrent.workflows.clone.known import MAX_FILES, KnownPackages, bases_first, choose_bases, put_bases_first
from tests.store.samples import safetensors
from tests.workflows.cloning import Run

SIDE = 300
"""Tensors of 300 x 300 words: long enough not to be joined."""

HEAD_BYTES = 52
NAMES = ("a", "b", "c", "d")


def tensor(seed: int, noise: float = 0.0, change: int = 0) -> bytes:
    values = np.random.default_rng(seed).standard_normal(SIDE * SIDE)
    values += noise * np.random.default_rng((seed, change)).standard_normal(SIDE * SIDE)
    return ((values * 0.02).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def weights(noise: float = 0.0, *, change: int = 1, changed: str = "abcd") -> bytes:
    """A bf16 file of four tensors; with `noise`, those `changed` are a little off."""
    tensors = {
        name: ("BF16", [SIDE, SIDE], tensor(ord(name), noise if name in changed else 0.0, change)) for name in NAMES
    }
    return safetensors(tensors)


def model(noise: float = 0.0, path: str = "model.safetensors", **how: Any) -> PackageFile:
    return data_file(path, weights(noise, **how))


def package(name: str, *files: PackageFile, base: str | None = None, **known: Any) -> Package:
    bases = () if base is None else (base,)
    return Package(name=name, files=files, base_models=bases, **{"licence": "mit", "downloads": 100, **known})


@pytest.fixture
def by_declaration_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.store.ingest.encode_pool.sketch_all", lambda *_: Sketch())


def deltas(run: Run, name: str) -> dict[ObjectId, ObjectId]:
    """The objects of a package that are stored as deltas, with their bases."""
    manifest = run.manifests()[name]
    with Store.open(run.home.store) as store:
        found = {identifier: store.base_of(identifier) for identifier, _ in manifest.objects}
    return {identifier: base for identifier, base in found.items() if base is not None}


def tensors_of(run: Run, name: str) -> set[ObjectId]:
    return {identifier for identifier, size in run.manifests()[name].objects if size == 2 * SIDE * SIDE}


@pytest.mark.usefixtures("by_declaration_alone")
def test_fine_tune_is_stored_as_deltas_of_the_base_it_declares(run: Run) -> None:
    with SampleHub([package("org/base", model()), package("me/tuned", model(0.002), base="org/base")]) as hub:
        run(hub, CloneRequest(jobs=1))

    assert set(deltas(run, "hf:me/tuned")) == tensors_of(run, "hf:me/tuned")
    assert set(deltas(run, "hf:me/tuned").values()) == tensors_of(run, "hf:org/base")
    assert run.data("hf:me/tuned", "model.safetensors") == weights(0.002)


@pytest.mark.usefixtures("by_declaration_alone")
def test_base_that_fewer_people_download_is_worked_first(run: Run) -> None:
    chain = [
        package("me/tuned", model(0.002), base="org/base", downloads=900),
        package("z/other", text_file("README.md", "z"), downloads=800),
        package("org/base", model(), base="old/root", downloads=5),
        package("old/root", text_file("README.md", "root"), downloads=None),
    ]
    with SampleHub(chain) as hub:
        run(hub, CloneRequest(jobs=1))

    assert list(run.results()) == ["hf:old/root", "hf:org/base", "hf:me/tuned", "hf:z/other"]
    assert len(deltas(run, "hf:me/tuned")) == len(NAMES)


@pytest.mark.usefixtures("by_declaration_alone")
def test_base_captured_by_an_earlier_clone_is_found(run: Run) -> None:
    with SampleHub([package("org/base", model()), package("me/tuned", model(0.002), base="org/base")]) as hub:
        run(hub, CloneRequest(ids=("org/base",)))
        run(hub, CloneRequest(ids=("me/tuned",)))

    assert len(deltas(run, "hf:me/tuned")) == len(NAMES)


@pytest.mark.usefixtures("by_declaration_alone")
def test_base_is_found_however_its_files_are_called(run: Run) -> None:
    shards = [
        data_file(f"shard-{name}.safetensors", safetensors({name: ("BF16", [SIDE, SIDE], tensor(ord(name)))}))
        for name in NAMES
    ]
    with SampleHub([package("org/base", *shards), package("me/tuned", model(0.002), base="org/base")]) as hub:
        run(hub, CloneRequest(jobs=1))

    assert set(deltas(run, "hf:me/tuned").values()) == tensors_of(run, "hf:org/base")


@pytest.mark.usefixtures("by_declaration_alone")
def test_base_is_found_while_it_is_still_being_worked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned_is_stored = Stop()
    add_file = Store.add_file

    def spy(self: Store, path: Path, name: str, *rest: Any, **named: Any) -> StoredFile:
        if name == "extra.bin":
            assert tuned_is_stored.wait(30)
        file = add_file(self, path, name, *rest, **named)
        if name == "tuned.safetensors":
            tuned_is_stored.set()
        return file

    monkeypatch.setattr(Store, "add_file", spy)
    base = package("org/base", model(), data_file("extra.bin", bytes(range(256)) * 4000))
    tuned = package("me/tuned", model(0.002, path="tuned.safetensors"), base="org/base")
    with SampleHub([base, tuned]) as hub:
        run(hub, CloneRequest(jobs=2))

    assert list(run.results()) == ["hf:me/tuned", "hf:org/base"]
    assert set(deltas(run, "hf:me/tuned").values()) == tensors_of(run, "hf:org/base")


@pytest.mark.usefixtures("by_declaration_alone")
def test_new_revision_is_stored_as_deltas_of_the_last(run: Run) -> None:
    with SampleHub([package("a/x", model())]) as hub:
        run(hub)
        first = tensors_of(run, "hf:a/x")
        hub.add(package("a/x", model(0.002)))
        run(hub)

    assert set(deltas(run, "hf:a/x").values()) == first


@pytest.mark.usefixtures("by_declaration_alone")
def test_packages_that_name_each_other_or_nobody_there_are_stored_plain(run: Run) -> None:
    circle = [
        package("a/x", model(), base="a/y"),
        package("a/y", text_file("README.md", "y"), base="a/x"),
        package("a/z", model(0.002, path="z.safetensors"), base="gone/nowhere"),
    ]
    with SampleHub(circle) as hub:
        assert run(hub).failed == 0

    assert [deltas(run, f"hf:a/{name}") for name in "xyz"] == [{}, {}, {}]


@pytest.mark.usefixtures("by_declaration_alone")
def test_open_package_is_no_delta_of_a_gated_base(run: Run) -> None:
    run.token = TOKEN
    gated = package("org/base", model(), access="gated")
    with SampleHub([gated, package("me/tuned", model(0.002), base="org/base")]) as hub:
        assert run(hub, CloneRequest(jobs=1)).failed == 0

    assert deltas(run, "hf:me/tuned") == {}


def test_fine_tune_that_declares_nothing_is_found_by_its_looks(run: Run) -> None:
    with SampleHub([package("org/base", model()), package("me/tuned", model(0.02), downloads=9)]) as hub:
        run(hub, CloneRequest(jobs=1))

    assert len(deltas(run, "hf:me/tuned")) == len(NAMES)


def stored_bytes(home: Home) -> Counter[str]:
    """Bytes of all records by kind, heads included."""
    totals: Counter[str] = Counter()
    with Store.open(home.store) as store:
        for container in (*store.packs(), *store._index.parts()):
            for entry in store._index.entries(container):
                totals[entry.kind] += entry.stored + HEAD_BYTES + (32 if entry.base else 0)
    return totals


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "plain"])
def test_revision_with_one_changed_tensor_adds_that_tensor_and_a_manifest(
    run: Run, delta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.clone.clone.Store.open", partial(Store.open, delta=delta))
    readme = text_file("README.md", "the same")
    with SampleHub([package("a/x", model(), readme)]) as hub:
        run(hub)
        before = stored_bytes(run.home)
        hub.add(package("a/x", model(0.02, changed="c"), readme))
        run(hub)
    added = stored_bytes(run.home) - before
    coded = codecs.encode(tensor(ord("c"), 0.02, 1), "BF16").size

    assert run.data("hf:a/x", "model.safetensors") == weights(0.02, changed="c")
    assert added["data"] <= coded * (0.6 if delta else 1.01)
    assert len(deltas(run, "hf:a/x")) == (1 if delta else 0)
    assert added["manifest"] <= 1.01 * before["manifest"]
    assert added["capture"] <= 1.01 * before["capture"]
    assert added["answer"] <= 1.01 * before["answer"]
    assert set(added) == {"data", "manifest", "capture", "answer"}


def test_files_are_looked_at_by_path_then_format_then_package() -> None:
    last, base = {"m.bin": 1, "m.safetensors": 2, "n.safetensors": 3}, {"m.safetensors": 4, "o.safetensors": 5}
    chosen = choose_bases("m.safetensors", [_files(last), _files(base)])

    assert [file.size for file in chosen] == [2, 4, 3, 5, 1]


def test_no_file_is_looked_at_twice_and_only_so_many() -> None:
    many = {f"{number:03}.bin": number for number in range(100)}

    assert [file.size for file in choose_bases("x.bin", [_files(many), _files(many)])] == list(range(MAX_FILES))


def _files(sizes: dict[str, int]) -> tuple[tuple[str, StoredFile], ...]:
    return tuple(
        (path, StoredFile(size=size, blake3=f"{size:064x}", sha256="", git_sha1=None, cutter="", objects=()))
        for path, size in sizes.items()
    )


NAME = st.sampled_from("abcdefgh")


@given(st.dictionaries(NAME, st.lists(NAME, max_size=4).map(tuple)))
@settings(max_examples=200, deadline=None)
def test_order_has_every_package_once_and_bases_first_unless_in_a_circle(packages: dict[str, tuple[str, ...]]) -> None:
    ordered = bases_first(packages)
    place = {name: at for at, name in enumerate(ordered)}

    assert sorted(ordered) == sorted(packages)
    named = [(name, base) for name, bases in packages.items() for base in bases if base in packages]
    outside_circles = [(name, base) for name, base in named if name not in reachable(packages, base)]
    assert all(place[base] < place[name] for name, base in outside_circles)
    if outside_circles == named:
        assert bases_first({name: packages[name] for name in ordered}) == ordered


def reachable(packages: dict[str, tuple[str, ...]], start: str) -> set[str]:
    found, ahead = set[str](), [start]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += packages.get(name, ())
    return found


def test_long_chain_of_bases_is_put_in_order() -> None:
    chain = {f"{number}": (f"{number + 1}",) for number in range(5000)}

    assert bases_first(chain) == list(reversed(chain))


def test_only_what_is_to_do_changes_places() -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "all", "2026-11-20T12:00:00Z")
        names = {"a": 9, "b": 8, "c": 7, "d": 6}
        journal.add_page(run.id, [(name, count, b"{}") for name, count in names.items()], None)
        journal.rank(run.id, None)
        bases = {"a": ("d", "b"), "c": (), "d": ()}
        journal.keep_plans(run.id, [NewPlan(name, b"", 0, 0, 0, named) for name, named in bases.items()])
        put_bases_first(journal, run.id)

        assert [work.name for work in journal.works(run.id)] == ["d", "a", "b", "c"]


@given(st.dictionaries(NAME, st.lists(NAME, max_size=4).map(tuple), min_size=1))
@settings(max_examples=50, deadline=None)
def test_journal_has_bases_first_and_leaves_the_rest_in_order(packages: dict[str, tuple[str, ...]]) -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "all", "2026-11-20T12:00:00Z")
        journal.add_page(run.id, [(name, -place, b"{}") for place, name in enumerate(packages)], None)
        journal.rank(run.id, None)
        journal.keep_plans(run.id, [NewPlan(name, b"", 0, 0, 0, bases) for name, bases in packages.items()])
        put_bases_first(journal, run.id)
        ordered = [work.name for work in journal.works(run.id)]
        ranks = [work.rank for work in journal.works(run.id)]

    assert sorted(ordered) == sorted(packages)
    assert len(set(ranks)) == len(ranks)
    assert ordered == bases_first(
        {name: [base for base in bases if base in packages] for name, bases in packages.items()}
    )


def test_damaged_capture_is_nobodys_base(run: Run) -> None:
    with SampleHub([package("a/x", model())]) as hub:
        run(hub)
    with Store.open(run.home.store) as store:
        [capture] = store.captures()
        captured = KnownPackages(store)
        assert [path for path, _ in captured.weights(capture.package)] == ["model.safetensors"]
        captured.add(capture.package, SnapshotId("0" * 64), "open")
        assert captured.weights(capture.package) == ()
