"""A home with three captured packages, and its releases: fixtures to import."""

from pathlib import Path

import pytest

from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.model.records import ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import TickingClock, capture_three, new_home

FIRST = ReleaseName("2026.11")
SECOND = ReleaseName("2026.12")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def made(tmp_path: Path, scratch: Path) -> tuple[Home, Keys, dict[str, Manifest]]:
    home, keys = new_home(tmp_path / "home")
    return home, keys, capture_three(home, scratch)


def run(home: Home, keys: Keys, name: ReleaseName = FIRST) -> Release:
    return release(name, home, keys, clock=TickingClock(), emit=ignore)
