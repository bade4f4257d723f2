"""Files are named in groups: what a power cut leaves at any sync, and how often a fetch of small files syncs."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import pytest

from ptmtorrent.disk import barrier
from ptmtorrent.layouts.folders import INCOMING
from ptmtorrent.paths import Home
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.workflows.fetch import assemble, report
from ptmtorrent.workflows.fetch.fetch import FetchRequest, FetchRun
from tests.channels import EXECUTABLE, Made, check_laid_out, fetch_from, make_channel

NAMES = ("config.json", "README.md", "sub/vocab.txt", "sub/deep/merges.txt", EXECUTABLE)
PACKAGES = {
    f"hf:org{number % 5}/m-{number}": {name: f"{name} of {number}\n".encode() * (number + 1) for name in NAMES}
    for number in range(20)
}
FILES = len(PACKAGES) * len(NAMES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"), PACKAGES)


@pytest.fixture
def home(made: Made, tmp_path: Path) -> Home:
    home = Home(tmp_path / "user")
    made.trusted_by(home, str(made.folder))
    return home


class StrictDisk:
    """Keeps what is durable below `root`: the bytes of a file and the names of a folder at their last sync."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.syncs = 0
        self._lock = Lock()
        self._bytes: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        fsync, disk = os.fsync, barrier.sync_disk
        monkeypatch.setattr(os, "fsync", lambda descriptor: self._one(descriptor, fsync))
        monkeypatch.setattr(barrier, "sync_disk", lambda descriptor: self._all(descriptor, disk))

    def _one(self, descriptor: int, real: Callable[[int], None]) -> None:
        real(descriptor)
        self.syncs += 1
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.root in (path, *path.parents):
            self._keep(path)

    def _all(self, descriptor: int, real: Callable[[int], None]) -> None:
        real(descriptor)
        self.syncs += 1
        for path in [self.root, *self.root.rglob("*")]:
            if path.exists():
                self._keep(path)

    def _keep(self, path: Path) -> None:
        found = path.lstat()
        with self._lock:
            self._keep_found(path, found)

    def _keep_found(self, path: Path, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            self._names[path] = {each.name: each.lstat().st_ino for each in path.iterdir()}
        elif stat.S_ISREG(found.st_mode):
            self._bytes[found.st_ino] = path.read_bytes()

    def read(self, path: Path) -> bytes | None:
        """Return the bytes that the file at `path` has after a power cut; None if it has no such name then."""
        with self._lock:
            for place in (path, *(parent for parent in path.parents if self.root in parent.parents)):
                if place.name not in self._names.get(place.parent, {}):
                    return None
            return self._bytes.get(self._names[path.parent][path.name], b"")

    def named(self) -> dict[Path, bytes]:
        """Return the finished files that have a name after a power cut, and their bytes then."""
        with self._lock:
            paths = [folder / name for folder, names in self._names.items() for name in names]
        finished = (path for path in paths if INCOMING not in path.parts and path.is_file())
        return {path: kept for path in finished if (kept := self.read(path)) is not None}


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["whole disk", "each"])
def test_at_no_sync_a_name_is_torn_and_the_ledger_has_only_what_is_durable(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    disk = StrictDisk(out, monkeypatch)
    monkeypatch.setattr(barrier, "FEW", few)
    monkeypatch.setattr(assemble, "GROUP_FILES", 8)
    recorded, real = [0], FetchRun._record

    def record(self: FetchRun, *, wait: bool = False) -> None:
        real(self, wait=wait)
        with Ledger(home.ledger) as ledger:
            rows = ledger.files(out)
        assert all(disk.read(row.path) == row.path.read_bytes() for row in rows)
        assert not [path for path, kept in disk.named().items() if kept != path.read_bytes()]
        recorded.append(len(rows))

    monkeypatch.setattr(FetchRun, "_record", record)
    fetch_from(made.folder, home, FetchRequest(subset="all", to=out))
    check_laid_out(out, PACKAGES)
    assert recorded[-1] == FILES
    assert len(set(recorded)) > 3, "all was recorded at once"


def test_small_files_are_synced_by_the_group_and_no_folder_is_made_twice(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = StrictDisk(tmp_path, monkeypatch)
    announced, announce = [0], Ledger.announce
    mkdir, failed = os.mkdir, []

    def make(path: Path, mode: int = 0o777) -> None:
        try:
            mkdir(path, mode)
        except FileExistsError:
            failed.append(path)
            raise

    def announcing(self: Ledger, files: list[tuple[Path, int, str, str, str]]) -> None:
        announced[0] += 1
        announce(self, files)

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(Ledger, "announce", announcing)
    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "out"))
    groups = -(-FILES // assemble.GROUP_FILES)
    assert announced[0] == -(-FILES // (report.ANNOUNCED_FILES - len(NAMES)))
    assert disk.syncs <= groups + 1 + 8, "of the groups, the last names, and what is synced once a fetch"
    assert not [path for path in failed if tmp_path / "out" in Path(path).parents]


def test_a_disk_that_cannot_be_synced_fails_the_files_of_the_group_alone(
    made: Made, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = barrier.sync_disk, [0]

    def sync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(barrier, "FEW", 0)
    monkeypatch.setattr(assemble, "GROUP_FILES", len(NAMES))
    monkeypatch.setattr(barrier, "sync_disk", sync)
    request = FetchRequest(subset="all", to=tmp_path / "out")
    failed = fetch_from(made.folder, home, request).failed
    assert 0 < failed < len(PACKAGES)
    assert not fetch_from(made.folder, home, request).failed
    check_laid_out(tmp_path / "out", PACKAGES)
