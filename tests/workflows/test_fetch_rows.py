"""Planning keeps rows, and makes values of files while they are written."""

from pathlib import Path

import pytest

from ptmtorrent.catalogue import index
from ptmtorrent.layouts.folders import PlainDir
from ptmtorrent.layouts.port import Destination
from ptmtorrent.model.manifest import FileEntry, Manifest
from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch import select
from ptmtorrent.workflows.fetch.assembly import Assembly
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Made, check_laid_out, fetch_from, make_channel

PACKAGES = {
    f"hf:org/{name}": {"config.json": name.encode() * 9, "empty": b"", "model.bin": name.encode() * 4000}
    for name in ("one", "two", "three")
}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_channel(tmp_path, PACKAGES)


@pytest.fixture
def home(made: Made, tmp_path: Path) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


def count_files(monkeypatch: pytest.MonkeyPatch) -> list[Assembly]:
    made: list[Assembly] = []
    real = Assembly.__init__

    def note(self: Assembly, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]  # as they were given
        made.append(self)

    monkeypatch.setattr(Assembly, "__init__", note)
    return made


def test_a_plan_makes_no_file_and_a_fetch_makes_each_once(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = count_files(monkeypatch)
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out", dry_run=True))
    assert not files

    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))

    check_laid_out(tmp_path / "out", PACKAGES)
    assert len(files) == len({file.target for file in files}) == 9


def test_documents_that_exceed_memory_are_kept_on_disk(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "IN_MEMORY_BYTES", 1)
    monkeypatch.setattr(index, "DECODED", 1)

    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))

    check_laid_out(tmp_path / "out", PACKAGES)
    assert not list(home.incoming.glob("tmp*"))


@pytest.mark.parametrize("only", [("config",), ()])
def test_a_second_fetch_finds_the_rows_of_the_first(made: Made, home: Home, tmp_path: Path, only: tuple[str]) -> None:
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out", only=("config",)))
    summary = fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out", only=only))  # type: ignore[arg-type]

    if not only:
        check_laid_out(tmp_path / "out", PACKAGES)
    assert (summary.bytes_moved == 0) == bool(only)


def test_only_files_of_which_something_is_left_become_values(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another fetch left in the folder of unfinished files is found by name, whatever package it is of."""
    out = tmp_path / "out"
    fetch_from(made.folder, home, FetchRequest(packages=("hf:org/one",), to=out))
    kept: list[int] = []
    monkeypatch.setattr(select.Selection, "has_any", property(lambda self: kept.append(len(self.live)) or True))

    fetch_from(made.folder, home, FetchRequest(subset="all", to=out, dry_run=True))

    assert kept == [0]


def test_destinations_of_large_packages_are_not_found_anew_for_each_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two packages with the same files: each object is written into one, then into the other."""
    files = {f"{number}.bin": b"%d" % number for number in range(select.FEW + 6)}
    (tmp_path / "many").mkdir()
    made = make_channel(tmp_path / "many", {"hf:a/x": files, "hf:b/y": files})
    home = Home(tmp_path / "reader")
    made.trusted_by(home, str(made.folder))
    monkeypatch.setattr(select, "KEPT_FILES", 1)
    found = 0
    destination = PlainDir.destination

    def count(layout: PlainDir, manifest: Manifest, file: FileEntry) -> Destination:
        nonlocal found
        found += 1
        return destination(layout, manifest, file)

    monkeypatch.setattr(PlainDir, "destination", count)
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))

    assert len(files) < found < 8 * 2 * len(files)
    check_laid_out(tmp_path / "out", made.packages)
