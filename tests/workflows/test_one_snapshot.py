"""A folder holds one package at one snapshot: fetch keeps it so, and verify compares it with exactly that."""

import os
import sqlite3
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from ptmtorrent.errors import Interrupted, NoSource
from ptmtorrent.layouts.folders import Names
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.records import Note, Result
from ptmtorrent.paths import Home
from ptmtorrent.state import laid_out
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.verify import verify
from tests.channels import Files, Heard, Made, check_laid_out, fetch_from, make_channel

PACKAGE = "hf:org/m"
OLD = {"README.md": b"v1\n", "model.bin": b"W1" * 900, "evil.py": b"x\n", "deep/er/old.json": b"{}", "LICENSE": b"mit"}
NEW = {"README.md": b"v2\n", "model.bin": b"W2" * 900, "LICENSE": b"mit"}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("older"), {PACKAGE: OLD})


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("newer"), {PACKAGE: NEW})


@pytest.fixture
def user(tmp_path: Path) -> Home:
    return Home(tmp_path / "user")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def get(  # what one fetches
    made: Made,
    user: Home,
    to: Path,
    *packages: str,
    only: tuple[FileKind, ...] = (),
    into: str = "dir",
    force: bool = False,
) -> Heard:
    made.trusted_by(user, str(made.folder))
    heard = Heard()
    request = FetchRequest(packages=packages or (PACKAGE,), to=to, only=only, into=into, force=force)  # type: ignore[arg-type]
    fetch_from(made.folder, user, request, emit=heard)
    return heard


def verified(user: Home, target: Path | str | None = None) -> dict[str, Result]:
    heard = Heard()
    summary = verify(user, None if target is None else str(target), emit=heard, stop=Stop())
    assert summary.failed == sum(result.status == "error" for result in heard.results.values())
    return heard.results


def notes(heard: Heard) -> str:
    return "\n".join(record.message for record in heard.records if isinstance(record, Note))


def test_names_that_the_platform_cannot_write_leave_nothing_of_an_older_snapshot(
    older: Made, user: Home, out: Path, tmp_path: Path
) -> None:
    newer = make_channel(tmp_path, {PACKAGE: {**NEW, "a:b.json": b"{}"}})
    get(older, user, out)
    with mock.patch("ptmtorrent.workflows.fetch.fetch.Names", partial(Names, windows=True)):
        heard = get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW})
    assert heard.results[PACKAGE].status == "impossible"
    assert "not all files are here: 1 file cannot be written here: `a:b.json`" in verified(user, out)[PACKAGE].reason


def test_a_newer_snapshot_replaces_what_an_older_one_laid_out(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    heard = get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW})
    assert not (out / "hf" / "org" / "m" / "deep").exists()
    assert "evil.py" in notes(heard) or "old.json" in notes(heard)
    assert verified(user, out)[PACKAGE].reason == "every byte is right"


def test_going_back_to_an_older_snapshot_is_the_same(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(newer, user, out)
    get(older, user, out)
    check_laid_out(out, {PACKAGE: OLD})
    assert verified(user)[PACKAGE].status == "ok"


def test_a_folder_of_two_snapshots_is_not_right(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    heard = get(newer, user, out, only=("docs",))
    assert "another snapshot" in "\n".join(heard.warnings)
    assert (out / "hf/org/m/model.bin").read_bytes() == OLD["model.bin"]

    found = verified(user, out)[PACKAGE]
    assert found.status == "error"
    for name in ("model.bin", "evil.py", "deep/er/old.json"):
        assert f"`{out / 'hf/org/m' / name}`" in found.reason
    assert "LICENSE" not in found.reason  # both snapshots have it

    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW})
    assert verified(user, out)[PACKAGE].status == "ok"


def test_parts_of_one_snapshot_make_it_whole(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    for kind in ("docs", "weights", "config", "metadata"):
        get(newer, user, out, only=(kind,))  # type: ignore[arg-type]
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW})


def test_a_part_of_a_snapshot_alone_is_right(newer: Made, user: Home, out: Path) -> None:
    get(newer, user, out, only=("docs",))
    assert verified(user, out)[PACKAGE].status == "ok"


def test_what_was_changed_since_is_kept_and_named(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    mine = out / "hf/org/m/evil.py"
    mine.write_bytes(b"my own work")
    heard = get(newer, user, out)
    assert mine.read_bytes() == b"my own work"
    assert f"`{mine}`" in "\n".join(heard.warnings)
    assert f"`{mine}`" in verified(user, out)[PACKAGE].reason


def test_what_no_fetch_wrote_is_named_and_kept(newer: Made, user: Home, out: Path) -> None:
    extra = out / "hf/org/m/sub/more.py"
    extra.parent.mkdir(parents=True)
    extra.write_bytes(b"")
    (out / "hf/org/m/link").symlink_to(out.parent)
    heard = get(newer, user, out)
    assert "in no snapshot" in (found := verified(user, out)[PACKAGE]).reason
    assert found.status == "error"
    for path in (extra, out / "hf/org/m/link"):
        assert f"`{path}`" in found.reason
        assert os.path.lexists(path)
    assert "no snapshot" in "\n".join(heard.warnings)


def test_a_fetch_by_another_home_is_seen_as_what_this_one_did_not_write(
    older: Made, newer: Made, user: Home, out: Path, tmp_path: Path
) -> None:
    get(older, Home(tmp_path / "other"), out)
    get(newer, user, out, only=("docs",), force=True)
    assert "`" + str(out / "hf/org/m/evil.py") + "`" in verified(user, out)[PACKAGE].reason


def test_nothing_outside_is_removed_through_a_link(
    older: Made, newer: Made, user: Home, out: Path, tmp_path: Path
) -> None:
    get(older, user, out)
    deep = out / "hf/org/m/deep"
    deep.rename(tmp_path / "elsewhere")
    deep.symlink_to(tmp_path / "elsewhere")
    get(newer, user, out)
    assert (tmp_path / "elsewhere" / "er" / "old.json").read_bytes() == OLD["deep/er/old.json"]


def test_a_fetch_that_failed_leaves_the_older_snapshot_whole(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    packs = newer.folder / "packs"
    packs.rename(hidden := newer.folder / "hidden")
    try:
        with pytest.raises(NoSource):
            get(newer, user, out)
    finally:
        hidden.rename(packs)
    assert verified(user, out)[PACKAGE].status == "ok"


def test_snapshots_of_an_hf_cache_lie_side_by_side(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out, into="hf-cache")
    blobs = set((out / "models--org--m" / "blobs").iterdir())
    get(newer, user, out, into="hf-cache")
    assert blobs < set((out / "models--org--m" / "blobs").iterdir())
    assert verified(user, out)[PACKAGE].status == "ok"


# One package inside another

INNER = {"config.json": b'{"evil":1}'}
OUTER = {"sub/config.json": b'{"good":1}', "README.md": b"top"}


def channel_of(folder: Path, package: str, files: Files) -> Made:
    folder.mkdir()
    return make_channel(folder, {package: files})


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_no_package_goes_inside_another_of_an_earlier_run(user: Home, out: Path, tmp_path: Path, first: str) -> None:
    made = {
        "outer": channel_of(tmp_path / "a", "git:org/model", OUTER),
        "inner": channel_of(tmp_path / "b", "git:org/model/sub", INNER),
    }
    names = {"outer": "git:org/model", "inner": "git:org/model/sub"}
    second = "inner" if first == "outer" else "outer"
    get(made[first], user, out, names[first])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    refused = get(made[second], user, out, names[second]).results[names[second]]
    assert refused.status == "error"
    assert f"`{names[first]}`" in refused.reason
    assert "--to" in refused.reason
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert verified(user, out)[names[first]].status == "ok"

    elsewhere = get(made[second], user, tmp_path / "elsewhere", names[second])
    assert elsewhere.results[names[second]].status == "ok"


def test_no_package_goes_inside_another_of_the_same_run(user: Home, out: Path, tmp_path: Path) -> None:
    packages = {"git:org/model": OUTER, "git:org/model/sub/b": INNER, "git:org/other": INNER}
    made = make_channel(tmp_path, packages)
    found = get(made, user, out, *packages).results
    assert [found[name].status for name in packages] == ["ok", "error", "ok"]
    assert "`git:org/model`" in found["git:org/model/sub/b"].reason


@pytest.mark.parametrize("way", ["folder", "link", "link inside", "same package", "hf-cache"])
def test_no_way_leads_into_a_package(newer: Made, older: Made, user: Home, out: Path, way: str) -> None:
    get(newer, user, out)
    link = out.parent / "link"
    folder = out / "hf" / "org" / "m"
    to = {"link": link, "link inside": link}.get(way, folder / "sub")
    if way == "link":
        to.symlink_to(folder)
    elif way == "link inside":
        (folder / "sub").mkdir()
        to.symlink_to(folder / "sub")
    made = newer if way == "same package" else older
    heard = get(made, user, to, into="hf-cache" if way == "hf-cache" else "dir")
    assert heard.results[PACKAGE].status == "error"
    assert "inside" in heard.results[PACKAGE].reason


def test_the_same_folder_by_another_way_is_the_same_folder(newer: Made, user: Home, out: Path, tmp_path: Path) -> None:
    get(newer, user, out)
    (tmp_path / "link").symlink_to(out)
    assert get(newer, user, tmp_path / "link").results[PACKAGE].status == "notneeded"


def test_a_folder_is_free_again_once_its_package_is_gone(user: Home, out: Path, tmp_path: Path) -> None:
    outer = channel_of(tmp_path / "a", "git:org/model", OUTER)
    inner = channel_of(tmp_path / "b", "git:org/model/sub", INNER)
    get(outer, user, out, "git:org/model")
    for path in (out / "git/org/model").rglob("*.*"):
        path.unlink()
    assert get(inner, user, out, "git:org/model/sub").results["git:org/model/sub"].status == "ok"


def test_a_disk_that_ignores_case_has_one_folder(
    user: Home, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptmtorrent.workflows.fetch.fetch.ignores_case", lambda _: True)
    made = make_channel(tmp_path, {"git:Org/model": OUTER, "git:org/MODEL/sub/b": INNER})
    found = get(made, user, out, "git:Org/model", "git:org/MODEL/sub/b").results
    assert [found[name].status for name in ("git:Org/model", "git:org/MODEL/sub/b")] == ["ok", "error"]


def test_verify_names_packages_inside_a_package(
    user: Home, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = channel_of(tmp_path / "a", "git:org/model", OUTER)
    inner = channel_of(tmp_path / "b", "git:org/model/sub", INNER)
    get(outer, user, out, "git:org/model")
    monkeypatch.setattr(laid_out.Neighbours, "claim", lambda *_: None)  # as an earlier version did
    get(inner, user, out, "git:org/model/sub")
    found = verified(user, out)
    assert found["git:org/model"].status == "error"
    assert f"`{out / 'git/org/model/sub'}`" in found["git:org/model"].reason


# Ledgers of earlier versions


def test_the_folders_of_an_older_ledger_are_found(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    forget_folders(user)
    assert verified(user, out)[PACKAGE].status == "ok"
    (out / "hf/org/m/extra.py").write_bytes(b"")
    assert "extra.py" in verified(user, out)[PACKAGE].reason
    (out / "hf/org/m/extra.py").unlink()
    forget_folders(user)
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW})


def test_an_older_ledger_of_several_snapshots_is_not_right_until_fetched_again(
    older: Made, newer: Made, user: Home, out: Path
) -> None:
    get(older, user, out)
    get(newer, user, out, only=("docs",))
    forget_folders(user)
    assert verified(user, out)[PACKAGE].status == "error"
    get(newer, user, out)
    assert verified(user, out)[PACKAGE].status == "ok"


def forget_folders(user: Home) -> None:
    ledger = sqlite3.connect(user.ledger)
    ledger.execute("DROP TABLE folders")
    ledger.commit()
    ledger.close()


def test_interrupted_verification_begins_anew(older: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted) as caught:
        verify(user, str(out), emit=Heard(), stop=stop)
    assert caught.value.hint == "run the same command again; it begins anew"
