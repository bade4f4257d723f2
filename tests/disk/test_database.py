"""The one opener of SQLite files, used from several threads."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ptmtorrent.disk import database
from ptmtorrent.disk.database import Database
from ptmtorrent.errors import StoreError, UnsupportedFormat
from tests.deadline import deadline

NUMBERS = "CREATE TABLE n (n INTEGER PRIMARY KEY);"

RACE = """
import sys, threading
from pathlib import Path
from ptmtorrent.disk.database import Database
from ptmtorrent.errors import StoreError

for number in range(40):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    base = Database(path, name="the numbers", schema="CREATE TABLE IF NOT EXISTS n (n);", any_thread=True)

    def write(base: Database = base) -> None:
        try:
            while True:
                base.run("INSERT INTO n VALUES (1)")
        except StoreError:
            pass

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    base.first("SELECT count(*) FROM n")
    base.close()
    for thread in threads:
        thread.join()
print("closed")
"""


def test_a_file_can_be_closed_while_other_threads_write(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RACE, tmp_path], capture_output=True, text=True, timeout=100, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr


def test_rows_are_streamed_while_others_are_written(tmp_path: Path) -> None:
    with Database(tmp_path / "n.sqlite", name="the numbers", schema=NUMBERS, version=1) as base:
        base.run_many("INSERT INTO n VALUES (?)", ((number,) for number in range(1000)))
        with base.transaction():
            base.run_many("INSERT INTO n VALUES (?)", ((-number - 1,) for (number,) in base.stream("SELECT n FROM n")))

        assert base.first("SELECT count(*) FROM n") == (2000,)


def test_transaction_that_need_not_be_durable_is_not_synced(tmp_path: Path) -> None:
    with Database(tmp_path / "n.sqlite", name="the numbers", schema=NUMBERS, version=1) as base:
        with base.transaction(durable=False):
            base.run("INSERT INTO n VALUES (1)")
            assert base.first("PRAGMA synchronous") == (1,)
        with base.transaction():
            assert base.first("PRAGMA synchronous") == (2,)
        with pytest.raises(StoreError), base.transaction(durable=False):
            base.run("INSERT INTO n VALUES (1)")

        assert base.first("PRAGMA synchronous") == (2,)
        assert base.all("SELECT n FROM n") == [(1,)]


def test_table_that_outgrows_memory_moves_to_a_file_without_a_name() -> None:
    with Database(None, name="a table", schema="CREATE TABLE n (n BLOB);", version=1, spill=True) as base:
        before = unnamed_bytes()
        base.run_many("INSERT INTO n VALUES (zeroblob(?))", ((1 << 20,) for _ in range(16)))

        assert unnamed_bytes() - before > 8 << 20
        assert base.first("SELECT count(*) FROM n") == (16,)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one row, in a folder that counts as one that cannot be written."""
    path = tmp_path / "n.sqlite"
    with Database(path, name="the numbers", schema=NUMBERS, version=1) as base:
        base.run("INSERT INTO n VALUES (1)")
    monkeypatch.setattr(database, "is_unwritable", lambda _: True)
    return path


def copied(path: Path) -> Database:
    return Database(path, name="the numbers", schema=NUMBERS, version=1, copied=True)


def test_copy_has_the_rows_undoes_transactions_and_changes_nothing_in_the_file(written: Path) -> None:
    before = written.read_bytes()
    with copied(written) as base:
        with suppress(KeyError), base.transaction():
            base.run("INSERT INTO n VALUES (2)")
            raise KeyError
        assert base.all("SELECT n FROM n") == [(1,)]
        base.run("INSERT INTO n VALUES (3)")
        assert base.all("SELECT n FROM n") == [(1,), (3,)]
    assert written.read_bytes() == before


def test_missing_file_is_copied_as_an_empty_one(written: Path) -> None:
    written.unlink()
    with copied(written) as base:
        assert base.all("SELECT n FROM n") == []
    assert not written.exists()


def test_file_that_cannot_be_copied_is_named(written: Path) -> None:
    with closing(sqlite3.connect(written)) as base:
        base.execute("PRAGMA user_version = 2")
    with pytest.raises(UnsupportedFormat, match=str(written)):
        copied(written)
    written.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=str(written)):
        copied(written)


def test_fifo_is_not_waited_for(written: Path) -> None:
    written.unlink()
    os.mkfifo(written)
    with deadline(10), pytest.raises(StoreError, match="it is not a file"):
        copied(written)


def unnamed_bytes() -> int:
    """The bytes of the files that this process has open and that have no name."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            status = each.stat()
            found += status.st_size if status.st_nlink == 0 else 0
    return found
