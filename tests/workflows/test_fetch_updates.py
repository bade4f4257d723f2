"""Fetch into a target that holds another release: what a fetch left makes way, and what is the user's stays."""

import os
import random
from pathlib import Path

import pytest

from ptmtorrent.layouts import folders
from ptmtorrent.layouts.folders import Ground
from ptmtorrent.paths import Home
from ptmtorrent.state.laid_out import Ledger, PackageFolder
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch import assemble, disk_space
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from ptmtorrent.workflows.verify import verify
from tests.channels import EXECUTABLE, Heard, Made, check_laid_out, fetch_from, make_channel
from tests.workflows.random_releases import make_history
from tests.workflows.updates import KilledError, killed_at, walk

PACKAGE = "hf:org/m"
OLD = {"a": b"file a", "b/x.json": b"{}", "b/y.json": b"[]", EXECUTABLE: b"print()", "same.txt": b"same"}
NEW = {
    "a/b/c.txt": b"below a",
    "a/d.txt": b"too",
    "b": b"file b",
    "run2.py": b"print()",
    "same.txt": b"same",
    "empty": b"",
}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("older"), {PACKAGE: OLD, "hf:other": {"x": b"x"}})


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("newer"), {PACKAGE: NEW, "hf:other": {"x": b"y"}})


@pytest.fixture
def user(tmp_path: Path, older: Made, newer: Made) -> Home:
    """A home that trusts both channels."""
    home = Home(tmp_path / "user")
    for made in (older, newer):
        made.trusted_by(home, str(made.folder))
    return home


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def get(made: Made, user: Home, to: Path, *, force: bool = False, into: str = "dir", dry_run: bool = False) -> Heard:
    heard = Heard()
    request = FetchRequest(packages=(PACKAGE, "hf:other"), to=to, force=force, into=into, dry_run=dry_run)  # type: ignore[arg-type]
    fetch_from(made.folder, user, request, emit=heard)
    return heard


def folder_of(out: Path) -> Path:
    return out / "hf" / "org" / "m"


def refuses(made: Made, user: Home, out: Path, place: Path, *, force: bool = False) -> None:
    """Check that a fetch names `place`, fails this package alone, and changes nothing of it."""
    before = snapshot(folder_of(out))
    heard = get(made, user, out, force=force)
    assert heard.results[PACKAGE].status == "error"
    assert f"`{place}`" in heard.results[PACKAGE].reason
    assert heard.results["hf:other"].status in {"ok", "notneeded"}
    assert snapshot(folder_of(out)) == before


def snapshot(folder: Path) -> dict[Path, object]:
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def test_files_make_way_for_folders_and_folders_for_files(older: Made, newer: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})
    assert verify(user, str(out), emit=Heard(), stop=Stop()).failed == 0
    get(older, user, out)
    check_laid_out(out, {PACKAGE: OLD, "hf:other": {"x": b"x"}})
    assert verify(user, str(out), emit=Heard(), stop=Stop()).failed == 0
    with Ledger(user.ledger) as ledger:
        assert {row.path for row in ledger.files(folder_of(out))} == {folder_of(out) / name for name in OLD}


@pytest.mark.parametrize("name", ["a", "b/x.json", "same.txt"])
def test_a_changed_file_in_the_way_is_kept_unless_forced(
    older: Made, newer: Made, user: Home, out: Path, name: str
) -> None:
    get(older, user, out)
    mine = folder_of(out) / name
    mine.write_bytes(b"my own work")
    refuses(newer, user, out, mine)
    if name == "b/x.json":  # a folder with something of the user's in it is never replaced
        refuses(newer, user, out, mine, force=True)
    else:
        assert any(f"`{mine}`" in warning for warning in get(newer, user, out, force=True).warnings)
        check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})


def test_a_file_with_another_time_and_its_own_bytes_is_as_it_was(
    older: Made, newer: Made, user: Home, out: Path
) -> None:
    get(older, user, out)
    for path in folder_of(out).rglob("*"):
        os.utime(path)
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})


@pytest.mark.parametrize("place", ["b", "same.txt", "a"])
def test_what_a_link_of_the_users_leads_to_is_never_touched(newer: Made, user: Home, out: Path, place: str) -> None:
    mine = out.parent / "mine"
    mine.mkdir()
    (mine / "precious").write_bytes(b"mine")
    (folder_of(out)).mkdir(parents=True)
    (folder_of(out) / place).symlink_to(mine if place == "a" else mine / "precious")
    refuses(newer, user, out, folder_of(out) / place)
    get(newer, user, out, force=True)
    check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})
    assert snapshot(mine) == {mine / "precious": b"mine"}


@pytest.mark.parametrize("above", ["hf", "hf/org", "hf/org/m"])
def test_no_folder_above_the_files_of_a_package_is_replaced(
    newer: Made, user: Home, out: Path, tmp_path: Path, above: str
) -> None:
    (tmp_path / "mine").mkdir()
    (out / above).parent.mkdir(parents=True)
    (out / above).symlink_to(tmp_path / "mine")
    assert get(newer, user, out, force=True).results[PACKAGE].status == "error"
    assert (out / above).is_symlink()
    assert not list((tmp_path / "mine").iterdir())


def test_a_dry_run_names_a_link_in_place_of_a_folder_of_the_package(
    newer: Made, user: Home, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (out / "hf" / "org").mkdir(parents=True)
    (folder_of(out)).symlink_to(tmp_path / "mine")
    assert f"`{folder_of(out)}` is a link" in get(newer, user, out, dry_run=True).results[PACKAGE].reason


def test_an_empty_folder_of_the_users_makes_way(newer: Made, user: Home, out: Path) -> None:
    (folder_of(out) / "b" / "empty").mkdir(parents=True)
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})


def test_a_dry_run_names_what_is_in_the_way(newer: Made, user: Home, out: Path) -> None:
    mine = folder_of(out) / "same.txt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    heard = get(newer, user, out, dry_run=True)
    assert f"`{mine}`" in heard.results[PACKAGE].reason
    assert "hf:other" not in heard.results


def test_a_file_becomes_executable_and_back(user: Home, out: Path, tmp_path: Path) -> None:
    made = make_channel(tmp_path, {"hf:other": {"x": b"x"}, PACKAGE: {EXECUTABLE: b"print()"}})
    made.trusted_by(user, str(made.folder))
    get(made, user, out)
    file = folder_of(out) / EXECUTABLE
    file.chmod(0o644)
    get(made, user, out)
    assert file.stat().st_mode & 0o111
    (out / "hf" / "other" / "x").chmod(0o755)
    get(made, user, out)
    assert not (out / "hf" / "other" / "x").stat().st_mode & 0o111


def test_verify_tells_damage_from_changes(older: Made, user: Home, out: Path) -> None:
    get(older, user, out)
    file = folder_of(out) / "same.txt"
    times = file.stat()
    file.write_bytes(b"SAME")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verify(user, str(out), emit=Heard(), stop=Stop()).failed == 1
    assert get(older, user, out).results[PACKAGE].status == "ok"  # nobody wrote these bytes
    assert file.read_bytes() == b"same"
    file.write_bytes(b"mine")
    assert verify(user, str(out), emit=Heard(), stop=Stop()).failed == 1
    refuses(older, user, out, file)


# Kills


def test_what_a_killed_fetch_wrote_is_known_to_the_next_one(
    older: Made, newer: Made, user: Home, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", fail)
        with pytest.raises(KilledError):
            get(older, user, out)
    assert (folder_of(out) / "a").is_file() or (folder_of(out) / "same.txt").is_file()
    get(newer, user, out)
    check_laid_out(out, {PACKAGE: NEW, "hf:other": {"x": b"y"}})


def fail(*_: object, **__: object) -> None:
    raise KilledError


def test_a_link_that_was_not_named_is_not_left_in_the_package(
    user: Home, out: Path, older: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def only_files(self: Path, target: Path) -> Path:
        if self.is_symlink():
            raise KilledError
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", only_files)
        with pytest.raises(KilledError):
            get(older, user, out, into="hf-cache")
    assert list(out.glob("models--*/blobs/*"))
    assert not [path for path in out.glob("models--*/snapshots/**/*") if path.is_symlink()]


def test_a_file_that_appears_during_the_fetch_is_not_replaced(
    newer: Made, user: Home, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = assemble.ensure_real_dir

    def put(root: Path, folder: Path, unsynced: set[Path]) -> None:
        real(root, folder, unsynced)
        if folder == folder_of(out):
            (folder / "same.txt").write_bytes(b"mine")

    monkeypatch.setattr(assemble, "ensure_real_dir", put)
    heard = get(newer, user, out)
    assert heard.results[PACKAGE].status == "error"
    assert (folder_of(out) / "same.txt").read_bytes() == b"mine"


def test_two_threads_may_clear_the_way_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "deep"
    place.write_bytes(b"a file of the older release")
    ground = folders.survey(tmp_path, place / "x.json", lambda _: True, force=False)
    real = folders._identity

    def then_the_other_thread(path: Path) -> object:
        found = real(path)
        path.unlink()
        path.mkdir()
        return found

    monkeypatch.setattr(folders, "_identity", then_the_other_thread)
    folders.clear(ground)
    assert place.is_dir()


# A Hugging Face cache


def test_a_file_of_the_users_in_a_snapshot_is_kept_unless_forced(older: Made, user: Home, out: Path) -> None:
    get(older, user, out, into="hf-cache")
    [link] = out.glob("models--org--m/snapshots/*/same.txt")
    link.unlink()
    link.write_bytes(b"mine")
    heard = get(older, user, out, into="hf-cache")
    assert f"`{link}`" in heard.results[PACKAGE].reason
    assert link.read_bytes() == b"mine"
    get(older, user, out, into="hf-cache", force=True)
    assert link.read_bytes() == b"same"


def test_a_copy_in_the_place_of_a_link_is_right(older: Made, user: Home, out: Path) -> None:
    get(older, user, out, into="hf-cache")
    [link] = out.glob("models--org--m/snapshots/*/same.txt")
    link.unlink()
    link.write_bytes(b"same")
    assert get(older, user, out, into="hf-cache").results[PACKAGE].status == "notneeded"
    assert not link.is_symlink()


@pytest.mark.parametrize("kind", ["more", "edited", "link"])
def test_verify_names_what_is_not_of_a_snapshot_in_a_cache(older: Made, user: Home, out: Path, kind: str) -> None:
    get(older, user, out, into="hf-cache")
    assert verify(user, str(out), emit=Heard(), stop=Stop()).failed == 0
    [link] = out.glob("models--org--m/snapshots/*/same.txt")
    stranger = link.with_name("modeling.py") if kind == "more" else link
    if kind != "more":
        link.unlink()
    if kind == "link":
        stranger.symlink_to(next(out.glob("models--org--m/snapshots/*/a")).readlink())
    else:
        stranger.write_bytes(b"import os")
    heard = Heard()
    assert verify(user, str(out), emit=heard, stop=Stop()).failed == 1
    assert f"`{stranger}`" in heard.results[PACKAGE].reason


# A disk that ignores case


def test_another_spelling_of_a_name_is_the_same_file(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "Readme.md").write_bytes(b"new")
    with Ledger(tmp_path / "ledger") as ledger:
        written = folder / "docs" / "Readme.md"
        ledger.record(written, blake3="x", package=PACKAGE, snapshot="old")
        disk_space._respell(folder, {folder / "Docs" / "README.md": "x"}, ledger)
        assert not ledger.files(folder)


def test_settling_a_folder_spells_names_as_the_release_and_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is as a disk that ignores case leaves it: it kept the old spelling, and finds it by the new one."""
    folder = tmp_path / "p"
    old, new = folder / "docs" / "Readme.md", folder / "Docs" / "README.md"
    heard = Heard()
    with Ledger(tmp_path / "ledger") as ledger:
        for place, spelled in ((old, "old"), (new, "new")):
            place.parent.mkdir(parents=True)
            place.write_bytes(b"x")
            ledger.record(place, blake3="x", package=PACKAGE, snapshot=spelled)
        old.unlink()
        old.parent.rmdir()
        new.parent.rename(old.parent)
        (old.parent / new.name).rename(old)
        monkeypatch.setattr(disk_space.os.path, "lexists", lambda _: True)
        settled = PackageFolder(folder=folder, package=PACKAGE, snapshot="new", files=1)
        disk_space.settle_folder(settled, {new: "x"}, ledger, heard, folds=True)
        monkeypatch.undo()
        assert [row.path for row in ledger.files(folder)] == [new]
    assert folders.files_below(folder) == [new]
    assert heard.records == []


# Walks


@pytest.mark.parametrize("layout", ["dir", "hf-cache"])
def test_a_target_is_the_release_and_the_users_files_whatever_was_fetched_before(tmp_path: Path, layout: str) -> None:
    history = make_history(tmp_path, random.Random(7), 4)
    done = walk(history, tmp_path / "walk", 7, layout=layout, steps=12)
    assert done["fetches"] == 12
    assert done["ok"]
    assert done["kills"]


def test_kills_are_where_they_are_asked_for() -> None:
    with killed_at(4):
        assemble.clear(Ground())
        with pytest.raises(KilledError):
            assemble.clear(Ground())
