"""Packs of a few kilobytes whose content is gigabytes are refused with little memory."""

from pathlib import Path

import pytest

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.git.clones import Clones, Remote
from ptmtorrent.hubs.git.process import Git
from tests.faults.hostile_packs import write_bomb
from tests.simulators.git_server import serve_git


def read(folder: Path, name: str) -> None:
    """Read the files of a bomb as a clone does."""
    (folder / "served").mkdir()
    write_bomb(name, folder / "served" / "bomb.git")
    with serve_git(folder / "served") as server:
        git = Git({"PATH": "/usr/bin:/bin"})
        clones = Clones(git, folder / "work")
        try:
            url = server.remote("bomb")
            clones.files(Remote(url=url, commit=git.head(url, "`bomb`"), package="`bomb`"))
        finally:
            clones.close()


def test_delta_of_hundreds_of_megabytes_does_not_fit_in_the_memory_of_git(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="ut of memory"):
        read(tmp_path, "large delta")


@pytest.mark.parametrize("name", ["trees in trees", "deep tree", "many names"])
def test_more_files_than_a_manifest_holds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HubError, match="has too many files or folders, or is too deep"):
        read(tmp_path, name)
