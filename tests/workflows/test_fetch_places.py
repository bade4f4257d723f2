"""Fetch into folders that somebody prepared: nothing outside them changes, and nothing hangs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, UsageError
from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch import select
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import COMMIT, Heard, Made, check_laid_out, fetch_from, git_id, make_channel

PACKAGE = "hf:org/name"
FILES = {"config.json": b"{}\n" * 50, "empty.txt": b"", "weights.bin": bytes(range(256)) * 300}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    long = {f"{'e' * 200}/{'f' * 200}.json": b"{}"}
    return make_channel(tmp_path_factory.mktemp("made"), {PACKAGE: FILES, "hf:org/long": long})


@pytest.fixture
def home(tmp_path: Path, made: Made) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder with a precious file; both are afterwards as they were."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "main").write_bytes(b"mine")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["main"]
    assert (folder / "main").read_bytes() == b"mine"


def put(kind: str, place: Path, outside: Path) -> None:
    """Put something hostile at `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "hard link":
        place.hardlink_to(outside / "main")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(outside / ("main" if kind == "link" else "nothing"))


def unfinished(made: Made, home: Home, to: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return where the files of the package are put together, by fetching them once elsewhere in the same layout."""
    seen: list[Path] = []
    real, elsewhere = select.Assembly, to.parent / "elsewhere"

    def keep(*arguments: object) -> object:
        assembly = real(*arguments)  # type: ignore[arg-type]
        seen.append(to / assembly.incoming.relative_to(elsewhere))
        return assembly

    with monkeypatch.context() as patch:
        patch.setattr(select, "Assembly", keep)
        fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=elsewhere))
    assert seen
    return seen


@pytest.mark.parametrize("kind", ["hard link", "fifo", "link", "dangling link"])
def test_what_lies_where_files_are_put_together_is_never_written_through(
    made: Made, home: Home, outside: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    to = outside.parent / "out"
    places = unfinished(made, home, to, monkeypatch)
    for place in (*places, to / ".ptmtorrent-incoming" / "lock"):
        put(kind, place, outside)
    fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=to))
    check_laid_out(to, {PACKAGE: FILES})


def test_a_folder_where_a_file_is_put_together_is_named(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [place, *_] = unfinished(made, home, tmp_path / "out", monkeypatch)
    place.mkdir(parents=True)
    with pytest.raises(StoreError, match=f"`{place}`"):
        fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=tmp_path / "out"))


def test_a_link_in_place_of_the_folder_of_unfinished_files_is_refused(
    made: Made, home: Home, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".ptmtorrent-incoming").symlink_to(outside)
    with pytest.raises(StoreError, match="is a link"):
        fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=tmp_path / "out"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling link"])
def test_what_is_no_file_where_one_should_go_is_refused(
    made: Made, home: Home, outside: Path, name: str, kind: str
) -> None:
    place = outside.parent / "out" / "hf" / "org" / "name" / name
    put(kind, place, outside)
    if kind == "folder":
        (place / "mine").write_bytes(b"")
    heard, request = Heard(), FetchRequest(packages=(PACKAGE,), to=outside.parent / "out")
    assert fetch_from(made.folder, home, request, emit=heard).failed == 1
    assert str(place) in heard.results[PACKAGE].reason


@pytest.mark.parametrize("name", FILES)
def test_a_second_name_of_another_file_is_replaced_and_not_written_through(
    made: Made, home: Home, outside: Path, name: str
) -> None:
    to = outside.parent / "out"
    put("hard link", to / "hf" / "org" / "name" / name, outside)
    assert fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=to)).failed == 1
    fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=to, force=True))
    check_laid_out(to, {PACKAGE: FILES})


@pytest.mark.parametrize("part", ["refs", "trees", "blobs", "snapshots", f"snapshots/{COMMIT}"])
def test_a_link_inside_an_hf_cache_is_never_followed(
    made: Made, home: Home, tmp_path: Path, outside: Path, part: str
) -> None:
    place = tmp_path / "cache" / "models--org--name" / part
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    heard = Heard()
    request = FetchRequest(packages=(PACKAGE,), to=tmp_path / "cache", into="hf-cache")
    assert fetch_from(made.folder, home, request, emit=heard).failed == 1
    assert "is a link" in heard.results[PACKAGE].reason


@pytest.mark.parametrize("part", ["refs/main", f"trees/{COMMIT}.json", f"blobs/{git_id(FILES['empty.txt'])}"])
def test_a_fifo_inside_an_hf_cache_hangs_nothing(made: Made, home: Home, tmp_path: Path, part: str) -> None:
    place = tmp_path / "cache" / "models--org--name" / part
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    heard = Heard()
    request = FetchRequest(packages=(PACKAGE,), to=tmp_path / "cache", into="hf-cache")
    fetch_from(made.folder, home, request, emit=heard)
    assert str(place) in heard.results[PACKAGE].reason


def test_too_long_a_place_fails_its_package_alone(made: Made, home: Home, tmp_path: Path) -> None:
    to = tmp_path.joinpath(*["d" * 200] * ((3900 - len(os.fsencode(tmp_path))) // 201))
    heard = Heard()
    fetch_from(made.folder, home, FetchRequest(subset="all", to=to), emit=heard)
    assert heard.results["hf:org/long"].status == "error"
    assert "too long" in heard.results["hf:org/long"].reason
    assert heard.results[PACKAGE].status == "ok"


@pytest.mark.parametrize("folder", ["store", "store/packs", "incoming", "trust"])
def test_the_home_s_own_folders_are_no_place_for_packages(made: Made, home: Home, folder: str) -> None:
    with pytest.raises(UsageError, match="for its own files"):
        fetch_from(made.folder, home, FetchRequest(packages=(PACKAGE,), to=home.root / folder))


@pytest.mark.parametrize("name", ["ptmtorrent.toml", "sub/PTMtorrent.toml"])
def test_a_settings_file_inside_a_package_is_warned_of(tmp_path: Path, name: str) -> None:
    bait = make_channel(tmp_path, {"hf:org/bait": {name: b'home = "h"\n'}, PACKAGE: FILES})
    bait.trusted_by(home := Home(tmp_path / "user"), str(bait.folder))
    heard = Heard()
    fetch_from(bait.folder, home, FetchRequest(subset="all", to=tmp_path / "out"), emit=heard)
    assert [warning for warning in heard.warnings if name in warning and "`hf:org/bait`" in warning]
    assert not [warning for warning in heard.warnings if PACKAGE in warning]
