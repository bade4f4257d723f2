"""A mirror serves files of one release in place of those of another: every one of them, and packs of each other."""

import shutil
from pathlib import Path

import pytest

from ptmtorrent.errors import PtmError
from ptmtorrent.paths import Home
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import fetch_from
from tests.workflows.test_publish_lists import A, B, Channel


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    made = Channel(tmp_path_factory.mktemp("swapped"))
    made.publish(A)
    made.publish(B)
    return made


def trusting(home: Home, channel: Path) -> Home:
    root = read_first_root(channel)
    Pins(home.trust).add(str(channel), fingerprint(root), root)
    return home


def fetched(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(channel: Path, root: Path) -> dict[str, bytes]:
    request = FetchRequest(subset="all", to=root / "out", transport="local")
    fetch_from(channel, trusting(Home(root / "reader"), channel), request)
    return fetched(root / "out")


def pairs(channel: Path) -> list[tuple[str, str]]:
    """Return each file of release B, and packs, with another file of the same kind."""
    found = []
    for folder, pattern in ((f"releases/{B}", "**/*"), ("packs", "*/*.pack"), ("torrents", "*.torrent")):
        files = sorted(path for path in (channel / folder).glob(pattern) if path.is_file())
        for path in files:
            name = path.relative_to(channel).as_posix()
            other = Path(str(path).replace(f"releases/{B}/", f"releases/{A}/"))
            others = [other] if other != path and other.is_file() else [each for each in files if each != path]
            found += [(name, each.relative_to(channel).as_posix()) for each in others[:1]]
    return found


def test_a_file_of_another_release_is_never_taken_for_the_listed_one(channel: Channel, tmp_path: Path) -> None:
    truth = read(channel.to, tmp_path / "honest")
    assert len(truth) == 7
    swapped, refused = pairs(channel.to), 0
    assert len(swapped) > 8
    for number, (name, other) in enumerate(swapped):
        mirror = shutil.copytree(channel.to, tmp_path / f"mirror{number}")
        (mirror / name).unlink()
        shutil.copy(channel.to / other, mirror / name)
        try:
            got = read(mirror, tmp_path / f"case{number}")
        except PtmError:
            refused += 1
            got = fetched(tmp_path / f"case{number}" / "out") if (tmp_path / f"case{number}" / "out").is_dir() else {}
            got = {path: data for path, data in got.items() if not path.startswith(".")}
        assert got.items() <= truth.items(), (name, other)
    assert refused > 3
