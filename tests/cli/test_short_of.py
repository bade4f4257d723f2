"""Too little memory, or too few open files: a message and code 20, never a traceback or a crash."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ptmtorrent import config
from ptmtorrent.catalogue import query, tables
from ptmtorrent.cli import main
from ptmtorrent.errors import PtmError, StoreError, TransportError, shortage_of

SHORT = (
    MemoryError(),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    ImportError("x.so: failed to map segment from shared object"),
)


@pytest.mark.parametrize("error", SHORT, ids=lambda error: f"{type(error).__name__}{error}"[:30])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_shortage_ends_with_code_20(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, wrapped: bool
) -> None:
    def fail(*_: object) -> int:
        if not wrapped:
            raise error
        raise TransportError("a server cannot be reached") from error

    monkeypatch.setattr(main, "_invoke", fail)
    assert main.run(["--format", "human", "status"]) == StoreError.code
    said = capsys.readouterr().err
    assert "too little memory" in said or "too few open files" in said
    assert "run the same command again" in said
    assert "Traceback" not in said


def test_other_errors_are_no_shortage() -> None:
    assert shortage_of(OSError(errno.ENOENT, "x")) is None
    assert shortage_of(PtmError("`not enough memory` is a name")) is None


def run(*arguments: str, limit: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = ["prlimit", limit, sys.executable, "-m", "ptmtorrent", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env={**os.environ})


@pytest.mark.parametrize("megabytes", [120, 200, 300, 340, 380])
@pytest.mark.parametrize("verb", ["list", "fetch"])
def test_a_low_limit_of_memory_ends_with_a_message(tmp_path: Path, verb: str, megabytes: int) -> None:
    arguments = [verb, *(["hf:tinkerer/quill-int8", "--to", str(tmp_path / "out")] if verb == "fetch" else [])]
    done = run(*arguments, limit=f"--as={megabytes}000000", home=tmp_path / "home")
    assert done.returncode in {0, StoreError.code}
    assert done.returncode == 0 or "too little memory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("files", [16, 40, 64])
def test_few_open_files_end_with_a_message_or_are_enough(tmp_path: Path, files: int) -> None:
    fetch = ["fetch", "hf:tinkerer/quill-int8", "--to", str(tmp_path / "out")]
    done = run(*fetch, limit=f"--nofile={files}", home=tmp_path / "home")
    assert done.returncode == (0 if files >= 64 else StoreError.code), done.stderr
    assert files >= 64 or "may open" in done.stderr


def test_a_soft_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    fetch = ["fetch", "hf:tinkerer/quill-int8", "--to", str(tmp_path / "out")]
    assert run(*fetch, limit="--nofile=20:1024", home=tmp_path / "home").returncode == 0


def test_memory_of_tables_follows_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "memory_left", lambda: 300 << 20)
    with tables.connect() as database:
        [(limit,)] = database.execute("SELECT current_setting('memory_limit')").fetchall()
    assert limit == "150.0 MiB"


def test_a_table_that_needs_too_much_memory_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block")

    monkeypatch.setattr(query, "open_locked", fail)
    with pytest.raises(StoreError, match="too little memory"):
        query.list_packages(tmp_path / "packages.parquet")


def test_a_limit_of_the_control_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"memory.max": "1000", "memory.current": "400"}
    monkeypatch.setattr(config, "_lines", lambda file: [said[Path(file).name]] if Path(file).name in said else [])
    assert config.memory_left() == 600
