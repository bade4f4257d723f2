"""Findings on their way: from a clone through releases to `show`, `fetch` and `verify --scan`."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.model.findings import Scan
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Identity
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone import findings
from ptmtorrent.workflows.clone.findings import add_identity
from ptmtorrent.workflows.release.findings import add_near_names
from tests.facts.findings.pickled import attack
from tests.in_process import ptmtorrent

MIT = "---\nlicense: mit\n---\n"
EVIL = attack("os", "system", "true")
MEANING = "runs code when loaded: `os.system`"


def package(place: Path, files: dict[str, bytes]) -> Path:
    place.mkdir(parents=True)
    for name, data in (files | {"README.md": MIT.encode()}).items():
        (place / name).write_bytes(data)
    return place


def clone(home: Path, place: Path) -> None:
    ptmtorrent(home, "clone", "dir", "--endpoint", place)


def found(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(e["level"], e["file"], e["meaning"]) for e in events if e["type"] == "finding" and "rules" in e["tool"]]


def notes(events: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in events if event["type"] == "note"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two releases: the second has one package more, and none of the first was captured again."""
    root = tmp_path_factory.mktemp("findings")
    home = root / "home"
    clone(home, package(root / "a" / "evil", {"model.pkl": EVIL}))
    clone(home, package(root / "b" / "plain", {"model.pkl": pickle.dumps({"a": 1})}))
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1")
    config = b'{"auto_map": {"AutoModel": "modeling_x.X"}}'
    clone(home, package(root / "c" / "code", {"config.json": config, "modeling_x.py": b"import torch\n"}))
    ptmtorrent(home, "release", "r2")
    ptmtorrent(home, "release", "r3")
    return home


def test_findings_are_shown_with_where_they_are(world: Path) -> None:
    shown = ptmtorrent(world, "show", "dir:evil", "--channel", world / "channel")
    assert found(shown) == [("runs-code", "model.pkl", MEANING)]
    assert {event["tool"].partition("/")[0] for event in shown if event["type"] == "finding"} == {
        "picklescan",
        "ptmtorrent-rules",
    }
    assert found(ptmtorrent(world, "show", "dir:plain", "--channel", world / "channel")) == []
    code = found(ptmtorrent(world, "show", "dir:code", "--channel", world / "channel"))
    assert [(level, file) for level, file, _ in code] == [("notice", "config.json"), ("notice", "modeling_x.py")]


def test_release_without_new_findings_lists_the_files_of_the_one_before(world: Path) -> None:
    files = {path.name for path in (world / "channel" / "releases" / "r2").rglob("*") if path.is_file()}
    assert {"findings.parquet", "flagged.json"} <= files
    assert not (world / "channel" / "releases" / "r3" / "flagged.json").exists()
    assert found(ptmtorrent(world, "show", "dir:evil", "--channel", world / "channel", "--release", "r3"))


def test_fetch_says_one_line_of_findings(world: Path, tmp_path: Path) -> None:
    channel = ("--channel", world / "channel")
    one = ptmtorrent(world, "fetch", "dir:evil", "--to", tmp_path / "one", *channel)
    assert [note for note in notes(one) if "finding" in note] == [
        "`dir:evil` has 2 findings, the worst of level `runs-code`: `model.pkl` " + MEANING
        + " (details: `ptmtorrent show dir:evil`)"
    ]  # fmt: skip
    all_ = ptmtorrent(world, "fetch", "--subset", "all", "--to", tmp_path / "all", *channel)
    assert [note for note in notes(all_) if "finding" in note] == [
        "2 packages have findings, by the worst of each: 1 `runs-code`, 1 `notice` (details: `ptmtorrent show PACKAGE`)"
    ]
    plain = ptmtorrent(world, "fetch", "dir:plain", "--to", tmp_path / "plain", *channel)
    assert not [note for note in notes(plain) if "finding" in note]


@pytest.mark.parametrize(
    ("level", "refused"),
    [("runs-code", {"dir:evil"}), ("suspicious", {"dir:evil"}), ("notice", {"dir:evil", "dir:code"})],
)
def test_fetch_refuses_findings_of_a_level(world: Path, tmp_path: Path, level: str, refused: set[str]) -> None:
    arguments = ("fetch", "--subset", "all", "--to", tmp_path, "--channel", world / "channel")
    events = ptmtorrent(world, *arguments, "--refuse-findings", level, code=3)
    results = {event["id"]: event["status"] for event in events if event["type"] == "result"}
    assert {name for name, status in results.items() if status == "impossible"} == refused
    assert {path.name for path in (tmp_path / "dir").iterdir()} == {"evil", "plain", "code"} - {
        name.removeprefix("dir:") for name in refused
    }


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"evil", b"kind"))


@pytest.mark.parametrize(("harm", "code"), [(change, 50), (Path.unlink, 12)], ids=["changed", "missing"])
def test_findings_that_a_mirror_lacks_or_changed_are_named(
    world: Path, tmp_path: Path, harm: Callable[[Path], None], code: int
) -> None:
    mirror = shutil.copytree(world / "channel", tmp_path / "mirror")
    harm(mirror / "releases" / "r2" / "flagged.json")
    trusted = ptmtorrent(world, "keys", "show", "--fingerprint")[-1]["fingerprint"]
    ptmtorrent(world, "trust", "add", mirror, "--fingerprint", trusted)
    arguments = ("fetch", "dir:evil", "--to", tmp_path / "to", "--channel", mirror)

    ptmtorrent(world, *arguments, "--refuse-findings", "runs-code", code=code)

    assert not (tmp_path / "to").exists()
    assert [note for note in notes(ptmtorrent(world, *arguments)) if "says of findings cannot be read" in note]


def test_package_with_more_files_than_are_scanned_has_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "MAX_FILES", 2)
    clone(tmp_path / "home", package(tmp_path / "a" / "many", {f"{n}.txt": b"%d" % n for n in range(3)}))
    with Store.open(tmp_path / "home" / "store") as store:
        (capture,) = store.captures()
    assert capture.scan is not None
    assert [(each.rule, each.meaning) for each in capture.scan.findings] == [
        ("unread", "4 files, of which 2 were scanned")
    ]


def test_findings_are_not_refused_where_nothing_signs_them(world: Path, tmp_path: Path) -> None:
    root = ptmtorrent(world, "releases", "--channel", world / "channel")[-1]
    pinned = root.get("content_root") or root["root"]
    arguments = ("fetch", "dir:plain", "--to", tmp_path, "--channel", world / "channel", "--release", pinned)
    error = ptmtorrent(world, *arguments, "--refuse-findings", "notice", code=2)[-1]
    assert "content root does not cover findings" in error["message"]


def test_fetched_files_are_scanned_again(world: Path, tmp_path: Path) -> None:
    ptmtorrent(world, "fetch", "dir:plain", "--to", tmp_path, "--channel", world / "channel")
    assert found(ptmtorrent(world, "verify", "--scan", tmp_path)) == []
    (tmp_path / "dir" / "plain" / "model.pkl").write_bytes(EVIL)
    assert found(ptmtorrent(world, "verify", "--scan", tmp_path)) == [("runs-code", "model.pkl", MEANING)]


def test_change_of_identity_is_a_finding() -> None:
    before = Identity(hub="hf", name="a/b", commit="1" * 40, hub_id="x", author="a")
    scan = Scan(tools=("t/1",))
    for changed, what in (
        (msgspec.structs.replace(before, hub_id="y"), "id on the hub"),
        (msgspec.structs.replace(before, author="c"), "owner"),
    ):
        found = add_identity(scan, before, changed)
        assert found is not None
        assert [(each.rule, each.level) for each in found.findings] == [("identity", "suspicious")]
        assert what in found.findings[0].meaning
    assert add_identity(scan, before, msgspec.structs.replace(before, commit="2" * 40)) is scan
    assert add_identity(scan, None, before) is scan


def test_name_that_resembles_a_popular_one_is_a_finding_of_the_release() -> None:
    scans = {PackageName("hf:goolge/bert-base"): Scan(tools=("t/1",)), PackageName("hf:google/bert-base"): None}
    named = add_near_names(scans, [PackageName("hf:google/bert-base")])
    found = named[PackageName("hf:goolge/bert-base")]
    assert found is not None
    assert "`hf:google/bert-base`" in found.findings[0].meaning
    assert named[PackageName("hf:google/bert-base")] is None
    assert add_near_names(scans, None) is scans
