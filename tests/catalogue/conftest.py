import pytest

from ptmtorrent.model.release import Release
from tests.catalogue.releases import NAMES, NAMES_LEFT, Files, framed, release_of, removal


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def release(files: Files) -> Release:
    """Forty packages; the second run changes 00, removes 01 and adds one."""
    first = framed(files, 0, dict.fromkeys(NAMES, "old"))
    second = framed(files, 1, {NAMES[0]: "new", "hf:one/more": "new"})
    members = {row.package: row for row in (*first, *second) if row.package != NAMES[1]}
    assert sorted(members) == NAMES_LEFT
    return release_of(files, [(first, 1), ([*second, removal(NAMES[1])], 0)], list(members.values()))
