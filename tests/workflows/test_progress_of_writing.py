"""Progress moves while files are written and read: also of bytes that are here, and within one large file."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import ptmtorrent

SIZE = 40_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with a release of one package, whose objects it has."""
    home = tmp_path_factory.mktemp("writing") / "home"
    folder = home.parent / "m"
    folder.mkdir()
    (folder / "model.bin").write_bytes(random.Random(1).randbytes(SIZE))
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "clone", "dir", "--endpoint", folder)
    ptmtorrent(home, "release", "r1", "--include", "unknown")
    return home


@pytest.fixture(autouse=True)
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptmtorrent.progress.EVERY_SECONDS", 0.0)


def steps(events: list[dict[str, Any]], step: str) -> list[int]:
    return [event["bytes"] for event in events if event["type"] == "progress" and event["step"] == step]


def test_writing_moves_where_nothing_is_moved(home: Path, tmp_path: Path) -> None:
    fetched = ptmtorrent(home, "fetch", "dir:m", "--channel", home / "channel", "--to", tmp_path)
    [plan] = [event for event in fetched if event["type"] == "plan"]
    written = steps(fetched, "write")

    assert plan["bytes_to_move"] == 0
    assert written == sorted(written)
    assert len(set(written)) > 2
    assert written[-1] == SIZE


def test_verification_moves_within_a_file(home: Path, tmp_path: Path) -> None:
    ptmtorrent(home, "fetch", "dir:m", "--channel", home / "channel", "--to", tmp_path)
    verified = ptmtorrent(home, "verify", tmp_path)

    assert len(set(steps(verified, "verify"))) > 2
    assert steps(verified, "verify")[-1] == SIZE
    assert verified[-1]["bytes_read"] == SIZE


def test_verification_of_a_damaged_file_counts_it_once(home: Path, tmp_path: Path) -> None:
    ptmtorrent(home, "fetch", "dir:m", "--channel", home / "channel", "--to", tmp_path)
    [file] = tmp_path.rglob("model.bin")
    with file.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"?!")
        stream.truncate(SIZE)
    verified = ptmtorrent(home, "verify", tmp_path, code=50)

    assert steps(verified, "verify")[-1] == SIZE
