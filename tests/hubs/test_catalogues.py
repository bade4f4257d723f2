import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError, NotFound, PtmError
from ptmtorrent.hubs.catalogues import Link, Weight, hash_in_name, is_web_address, weight_of
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.modelzoo import ModelZoo
from ptmtorrent.hubs.port import Described, HubFile, Listed
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.model.records import Event, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.hubs.catalogues_samples import KINDS, World, card, serve_catalogue
from tests.hubs.conftest import Time
from tests.simulators.assets import serve_assets
from tests.simulators.git_server import serve_git


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with serve_catalogue(request.param, tmp_path) as made:
        yield made


def run(world: World, home: Home, time: Time) -> tuple[Summary, list[Event]]:

    heard: list[Event] = []
    summary = clone(
        lambda new_session: world.hub(new_session(monotonic=time.monotonic, pause=time.pause)),
        CloneRequest(),
        home,
        clock=lambda: datetime(2026, 11, 20, tzinfo=UTC),
        emit=heard.append,
        stop=Stop(),
    )
    return summary, heard


def test_licence_of_the_remote_is_that_of_the_package(world: World, tmp_path: Path, time: Time) -> None:
    for name in ("small", "plain", "vision"):
        world.git.commit(f"team/{name}", {"LICENSE": b"MIT License", "hubconf.py": b"", "model.bin": b"w"})
    run(world, Home(tmp_path / "home"), time)
    with Store.open(tmp_path / "home" / "store") as store:
        licences = {capture.licence for capture in store.captures()}
    assert licences == {"mit"}


def stored(home: Home) -> dict[str, dict[str, bytes]]:
    """Return the bytes of every file of every package in the store, by its name on the hub."""
    found: dict[str, dict[str, bytes]] = {}
    with Store.open(home.store) as store:
        for capture in store.captures():
            manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
            found[manifest.package.name] = {
                file.name: b"".join(
                    store.read(manifest.objects[row][0])
                    for start, count in file.recipe
                    for row in range(start, start + count)
                )
                for file in manifest.files
            }
    return found


def failures(heard: list[Event]) -> list[str]:
    return [event.reason for event in heard if isinstance(event, Result) and event.status == "error"]


def test_clone_is_complete_and_has_the_bytes_that_were_served(world: World, tmp_path: Path, time: Time) -> None:
    home = Home(tmp_path / "home")

    _, heard = run(world, home, time)

    assert failures(heard) == []
    assert stored(home) == world.expected


def test_weights_whose_hosts_are_gone_are_holes_of_their_packages(tmp_path: Path, time: Time) -> None:
    served = tmp_path / "served"
    served.mkdir()
    with serve_git(served) as git, serve_assets() as assets:
        assets.data["/model.onnx"] = b"w" * 5000
        rows = []
        for index in range(12):
            host = f"http://weights-{index}.invalid" if index < 7 else assets.url
            external = [{"src_url": f"{host}/model.onnx?key=signature", "dest_file_path": "/model.onnx"}]
            init = json.dumps({"external_contrib_files": external}).encode()
            git.commit(f"team/{index}", {"init/init.json": init, "config.json": b"{}"})
            rows.append({"id": str(index), "name": f"m{index}", "github": git.remote(f"team/{index}")})
        git.commit("team/registry", {"models.json": json.dumps(rows).encode()})
        world = World("modelhub", git, assets, tmp_path / "work", endpoint=git.remote("team/registry"))
        home = Home(tmp_path / "home")

        summary, heard = run(world, home, time)

    held = stored(home)
    assert (summary.packages, summary.failed, len(held)) == (12, 7, 12)
    assert {name for name, files in held.items() if "model.onnx" in files} == {f"m{index}" for index in range(7, 12)}
    reasons = {event.id: event.reason for event in heard if isinstance(event, Result) and event.status == "error"}
    for index in range(7):
        assert "captured without 1 file: `model.onnx` (unreachable: " in reasons[f"modelhub:m{index}"]
        assert f"(http://weights-{index}.invalid/model.onnx)" in reasons[f"modelhub:m{index}"]
        assert "signature" not in reasons[f"modelhub:m{index}"]
    with Store.open(home.store) as store:
        made = [decode_manifest(store.read(ObjectId(each.snapshot)), each.snapshot) for each in store.captures()]
    assert {
        each.package.name: [(hole.name, hole.reason) for hole in each.missing] for each in made if each.missing
    } == {f"m{index}": [("model.onnx", "unreachable")] for index in range(7)}


def test_busy_hub_is_waited_for_as_long_as_it_says(world: World, tmp_path: Path, time: Time) -> None:
    world.assets.busy_once[world.weights] = 7

    _, heard = run(world, Home(tmp_path / "home"), time)

    assert failures(heard) == []
    assert time.waits
    assert max(time.waits) >= 7


def test_cut_transfer_is_completed(world: World, tmp_path: Path, time: Time) -> None:
    world.assets.cut_once[world.weights] = 50
    home = Home(tmp_path / "home")

    _, heard = run(world, home, time)

    assert failures(heard) == []
    assert stored(home) == world.expected


def test_unmodified_git_gets_the_bytes_that_were_captured(world: World, tmp_path: Path, time: Time) -> None:
    home = Home(tmp_path / "home")
    run(world, home, time)
    hub = world.hub()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        for listed in next(iter(hub.listing(_everything(), None))).packages:
            target = tmp_path / f"clone-{listed.name}"
            order = ["git", "clone", "--quiet", hub.link(listed).remote, str(target)]
            subprocess.run(order, env=environment, check=True, timeout=60)
            theirs = {
                path.relative_to(target).as_posix(): path.read_bytes()
                for path in target.rglob("*")
                if path.is_file() and ".git" not in path.relative_to(target).parts
            }

            assert theirs
            assert theirs.items() <= stored(home)[listed.name].items()
    finally:
        hub.close()


def _everything():  # noqa: ANN202
    from ptmtorrent.hubs.port import Query

    return Query()


@pytest.mark.parametrize("kind", ["pytorch", "modelhub"])
@pytest.mark.parametrize("fault", ["loops", "gone"])
def test_weights_that_cannot_be_had_are_a_record_naming_package_and_path(
    kind: str, fault: str, tmp_path: Path, time: Time
) -> None:
    with serve_catalogue(kind, tmp_path) as world:
        if fault == "loops":
            world.assets.loops.add(world.weights)
        else:
            world.assets.data.clear()

        _, heard = run(world, Home(tmp_path / "home"), time)

    [reason] = failures(heard)
    assert world.weights.rpartition("/")[2] in reason


def test_login_page_in_place_of_weights_is_refused_by_the_hash_in_their_name(tmp_path: Path, time: Time) -> None:
    with serve_catalogue("pytorch", tmp_path) as world:
        world.assets.login_pages.add(world.weights)

        _, heard = run(world, Home(tmp_path / "home"), time)

    [reason] = failures(heard)
    assert "sha256-prefix" in reason
    assert world.weights.rpartition("/")[2] in reason


def test_expired_address_is_asked_for_again(tmp_path: Path, time: Time) -> None:
    with serve_catalogue("modelhub", tmp_path) as world:
        world.assets.expired_once.add(world.weights)
        home = Home(tmp_path / "home")

        _, heard = run(world, home, time)

        assert failures(heard) == []
        assert stored(home) == world.expected


def test_card_that_cannot_be_read_fails_alone_and_says_why(tmp_path: Path, time: Time) -> None:
    with serve_catalogue("pytorch", tmp_path) as world:
        cards = {"team_small.md": card("team/vision"), "odd.md": b"---\ntitle: a\n<!-- no -->\n---\n"}
        world.git.commit("pytorch/hub", cards)

        _, heard = run(world, Home(tmp_path / "home"), time)

        assert sorted(event.status for event in heard if isinstance(event, Result)) == ["error", "ok"]
        [reason] = failures(heard)
        assert "`pytorch:odd`" in reason
        assert "YAML" in reason


@pytest.mark.parametrize(
    ("name", "oid"),
    [
        ("resnet50-0676ba61.pth", "sha256-prefix:0676ba61"),
        (f"a-{'0f' * 32}.pt", f"sha256:{'0f' * 32}"),
        ("model-20190101.pth", None),
        ("model.pth", None),
        ("a-123.pth", None),
    ],
)
def test_hash_in_the_name_of_weights_is_their_oid(name: str, oid: str | None) -> None:
    assert hash_in_name(f"https://host.invalid/{name}?download=1") == oid


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://host/a",
            "http://",
            "http://user:word@host/a",
            "http://host/a b",
            "http://[",
            "",
        ),
        3,
    ],
)
def test_what_is_no_web_address_is_told(url: object) -> None:
    assert not is_web_address(url)


def test_addresses_that_differ_in_their_query_get_paths_of_their_own() -> None:
    urls = ["http://host/a.pt", "http://host/a.pt?v=1", "http://host/a.pt?v=2", "http://host:81/a.pt"]

    assert len({weight_of(url).path for url in urls}) == 4


class Few(ModelZoo):
    """A catalogue whose packages link to what a test says."""

    target = Link(remote="http://host/o/n")

    def link(self, listed: Listed) -> Link:
        del listed
        if not self.target.remote:
            raise HubError("the record has no remote", hint="ask the hub")
        return self.target


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Few]:
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as git:
        commit = git.commit("team/m", {"a.txt": b"text", "big.json": b"x" * 2000})
        hub = Few(git.url, Clones(Git({"PATH": "/usr/bin:/bin"}), tmp_path / "work"))
        monkeypatch.setattr(hub, "target", Link(remote=git.remote("team/m"), ref=commit))
        yield hub
        hub.close()


def described_at(hub: Few, ref: str) -> Described:
    hub.target = Link(remote=hub.target.remote, ref=ref)
    return hub.describe(Listed(name="m", raw="{}"))


def test_link_to_a_commit_or_a_branch_pins_the_commit(few: Few) -> None:
    commit = few.target.ref
    found = {described_at(few, ref).identity.commit for ref in (commit, "", "main")}
    assert found == {commit}


@pytest.mark.parametrize(
    ("ref", "error", "reason"),
    [
        ("nothing", NotFound, "`modelzoo:m`: .* has no branch or tag `nothing`"),
        ("../main", HubError, "`modelzoo:m` names '../main', which is not a valid branch or tag name"),
        ("-x", HubError, "`modelzoo:m` names '-x', which is not a valid branch or tag name"),
    ],
)
def test_link_to_no_branch_is_refused(few: Few, ref: str, error: type[PtmError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        described_at(few, ref)
    assert type(caught.value) is error


def test_record_without_a_remote_names_its_package(few: Few) -> None:
    few.target = Link(remote="")
    with pytest.raises(HubError, match=r"^`modelzoo:m`: the record has no remote") as caught:
        few.describe(Listed(name="m", raw="{}"))
    assert caught.value.hint == "ask the hub"


def test_weights_that_a_package_names_no_more_are_not_found(few: Few, monkeypatch: pytest.MonkeyPatch) -> None:
    described = described_at(few, few.target.ref)
    file = HubFile(path="weights/a.bin", size=None, oid=None, source="url")
    monkeypatch.setattr(few, "weights", lambda *_: [Weight(url="http://host/a.bin", path="weights/a.bin")])

    assert few.locate(described, file).url == "http://host/a.bin"
    few.release(described)
    monkeypatch.setattr(few, "weights", lambda *_: ())
    with pytest.raises(NotFound, match=r"`modelzoo:m` no longer names the file `weights/a\.bin`"):
        few.locate(described, file)


def test_configuration_that_is_too_long_or_unreadable_names_its_package(
    few: Few, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = described_at(few, few.target.ref)
    read: list[bytes | None] = []

    def weights(_: Listed, reader: Callable[[str], bytes | None]) -> tuple[Weight, ...]:
        for path in ("a.txt", "none.txt", "big.json"):
            read.append(reader(path))  # noqa: PERF401  # what was read before the error counts
        return ()

    monkeypatch.setattr(few, "weights", weights)
    monkeypatch.setattr("ptmtorrent.hubs.catalogues.MAX_READ_BYTES", 1000)
    with pytest.raises(HubError, match=r"^`modelzoo:m`: .* file `big\.json` is 2\.0 kB, over the limit of 1\.0 kB"):
        few.files(described)
    assert read == [b"text", None]
