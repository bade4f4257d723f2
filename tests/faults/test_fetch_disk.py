import errno
import os
from pathlib import Path

import pytest

from ptmtorrent.errors import NoSpace
from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Made, check_laid_out, fetch_from, make_channel
from tests.simulators.static_server import serve


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_channel(tmp_path_factory.mktemp("made"))


def fill_disk_after(monkeypatch: pytest.MonkeyPatch, name: str, calls: int) -> None:
    """Let `os.<name>` work `calls` times, then find the disk full."""
    real, left = getattr(os, name), [calls]

    def write(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, name, write)


@pytest.mark.parametrize("calls", [0, 3, 9])
def test_a_disk_that_fills_up_names_the_bytes_needed_and_the_next_run_goes_on(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    home, request = Home(tmp_path / "home"), FetchRequest(subset="all", to=tmp_path / "out")
    made.trusted_by(home, str(made.folder))
    with monkeypatch.context() as full:
        fill_disk_after(full, "pwrite", calls)
        with pytest.raises(NoSpace, match=r"[0-9]+ more bytes are needed"):
            fetch_from(made.folder, home, request)
    fetch_from(made.folder, home, request)
    check_laid_out(tmp_path / "out", made.packages)


def test_a_staging_disk_that_fills_up_is_our_own_trouble_not_the_server_s(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, request = Home(tmp_path / "home"), FetchRequest(subset="all", to=tmp_path / "out")
    with serve(made.folder) as server:
        made.trusted_by(home, server.url)
        with monkeypatch.context() as full:
            full.setattr("ptmtorrent.disk.partial.write_all", lambda *_: _full())
            with pytest.raises(NoSpace):
                fetch_from(server.url, home, request)
        fetch_from(server.url, home, request)
    check_laid_out(tmp_path / "out", made.packages)


def _full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
