"""The file of the index: its tables, the upgrade of files of earlier versions, and its transactions.

Errors of SQLite are raised as our own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptmtorrent.disk.database import (
    UPGRADE_HINT,
    Connection,
    SqliteError,
    connect,
    connect_to_read,
    database_error,
    is_corrupt,
)
from ptmtorrent.errors import IntegrityError, StoreError, UnsupportedFormat

_TABLES = """
CREATE TABLE packs (
    row INTEGER PRIMARY KEY, id BLOB UNIQUE, part TEXT UNIQUE, size INTEGER NOT NULL, rights INTEGER NOT NULL);
CREATE TABLE objects (
    id BLOB PRIMARY KEY, pack INTEGER NOT NULL REFERENCES packs, at INTEGER NOT NULL, stored INTEGER NOT NULL,
    raw INTEGER NOT NULL, codec INTEGER NOT NULL, kind INTEGER NOT NULL, base BLOB) WITHOUT ROWID;
CREATE INDEX objects_by_pack ON objects (pack);
CREATE TABLE files (
    blake3 BLOB PRIMARY KEY, sha256 BLOB NOT NULL, git_sha1 BLOB, size INTEGER NOT NULL, cutter TEXT NOT NULL,
    objects BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX files_by_sha256 ON files (sha256);
CREATE INDEX files_by_git_sha1 ON files (git_sha1);
CREATE TABLE captures (
    row INTEGER PRIMARY KEY, object BLOB NOT NULL UNIQUE, snapshot BLOB NOT NULL, package TEXT NOT NULL,
    captured TEXT NOT NULL, data BLOB NOT NULL);
"""
_SKETCHES = """
CREATE TABLE sketches (key INTEGER NOT NULL, object BLOB NOT NULL, PRIMARY KEY (key, object)) WITHOUT ROWID;
"""
_SEQUENCES = """
ALTER TABLE captures ADD COLUMN sequence INTEGER;
UPDATE captures SET sequence = json_extract(CAST(data AS TEXT), '$.sequence') WHERE json_valid(CAST(data AS TEXT));
CREATE TABLE highest (sequence INTEGER NOT NULL);
INSERT INTO highest SELECT coalesce(max(sequence), 0) FROM captures;
PRAGMA user_version = 3;
"""
_RUNS = """
CREATE TABLE numbered (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE, part TEXT UNIQUE, size INTEGER NOT NULL,
    rights INTEGER NOT NULL);
INSERT INTO numbered SELECT row, id, part, size, rights FROM packs;
DROP TABLE packs;
ALTER TABLE numbered RENAME TO packs;
CREATE TABLE runs (row INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, level INTEGER NOT NULL);
CREATE TABLE parts (
    row INTEGER PRIMARY KEY, length INTEGER NOT NULL, objects INTEGER NOT NULL, hashes BLOB NOT NULL);
CREATE INDEX captures_by_time ON captures (captured, sequence);
DROP INDEX IF EXISTS objects_by_pack;
DROP INDEX files_by_git_sha1;
CREATE INDEX files_by_git_sha1 ON files (git_sha1) WHERE git_sha1 IS NOT NULL;
PRAGMA user_version = 4;
"""
VERSION = 4
VERSION_WITH_SEQUENCES = 3
VERSION_WITH_RUNS = 4
_SCRIPTS = {
    None: _TABLES + _SKETCHES + _SEQUENCES + _RUNS,
    1: _SKETCHES + _SEQUENCES + _RUNS,
    2: _SEQUENCES + _RUNS,
    3: _RUNS,
}
"""What a writer runs on a new file, and on one of an earlier version: 1 had no sketches, 2 no sequences, 3 no runs.

The rows of sealed packs stay where they are until the next run is made.
"""

_BUSY_SECONDS = 10.0
"""Time that SQLite waits for another connection to release a lock."""

_PAGE_BYTES = 1024
"""Rows are found by hashes, so a commit writes about a page for each: a small page is the least that it can write."""

_CHECKPOINT_PAGES = 16384
"""Pages in the write-ahead log after which they are copied into the file: those of many commits at once."""

REBUILD_HINT = "rebuild it from the packs: ptmtorrent store repair --index"


def connect_index(path: Path, *, write: bool) -> tuple[Connection, int]:
    """Connect to the index at `path` and return its version; for writing, create it if it is missing.

    Raises:
        StoreError: missing, damaged or not readable.
        UnsupportedFormat: a newer version wrote it.
    """
    with index_errors(path):
        connection = _connect_to_write(path) if write else connect_to_read(path, busy_seconds=_BUSY_SECONDS)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.close()
        raise StoreError(
            f"the index `{path}` is empty: its creation was interrupted",
            hint=REBUILD_HINT,
        )
    if version not in {*_SCRIPTS, VERSION}:
        connection.close()
        raise UnsupportedFormat(
            f"the index `{path}` has version {version}; this program reads version {VERSION}",
            hint=UPGRADE_HINT,
        )
    return connection, version


_TRANSLATED = (SqliteError, UnicodeDecodeError, LookupError, TypeError, AttributeError)


@contextmanager
def index_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite, and errors over values that only a damaged index has, into `StoreError`."""
    try:
        yield
    except _TRANSLATED as error:
        raise _translate(error, path) from error


def _translate(error: Exception, path: Path) -> StoreError:
    damaged = is_corrupt(error) or not isinstance(error, SqliteError)
    hint = REBUILD_HINT if damaged or _is_missing(path) else None
    if isinstance(error, SqliteError):
        return database_error(error, f"the index `{path}`", path, hint)
    return StoreError(f"the index `{path}` could not be used: {error}", hint=hint)


@contextmanager
def run_errors(path: Path) -> Iterator[None]:
    """Translate damage of a run, and what only a damaged one causes, into `StoreError`."""
    try:
        yield
    except (IntegrityError, LookupError, ValueError) as error:
        message = error.message if isinstance(error, IntegrityError) else str(error)
        raise StoreError(f"the index `{path}` could not be used: {message}", hint=REBUILD_HINT) from error


def _connect_to_write(path: Path) -> Connection:
    connection = connect(path, any_thread=True, busy_seconds=_BUSY_SECONDS)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA synchronous = FULL")
        is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        (version,) = (None,) if is_new else connection.execute("PRAGMA user_version").fetchone()
        if version in _SCRIPTS:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCRIPTS[version]} COMMIT;")
    except SqliteError:
        connection.close()
        raise
    return connection


def _is_missing(path: Path) -> bool:
    return path.parent.is_dir() and not path.exists()


Value = bytes | str | int | None


class Connected:
    """An open file. Writes form one transaction until `commit`, which blocks all other writers."""

    def __init__(self, connection: Connection, path: Path, version: int = VERSION) -> None:
        self._connection = connection
        self._path = path
        self._version = version

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the writes of the block durably, or roll all of them back if it raises."""
        try:
            yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def commit(self) -> None:
        """Make all writes so far durable."""
        if self._connection.in_transaction:
            self._run("COMMIT")

    def close(self) -> None:
        """Close the file; uncommitted changes are lost."""
        with index_errors(self._path):
            self._connection.close()

    def _begin(self) -> None:
        """Begin a transaction, unless one has begun: from here on no other process writes."""
        if not self._connection.in_transaction:
            self._run("BEGIN IMMEDIATE")

    def _write(self, sql: str, *values: Value) -> None:
        self._begin()
        self._run(sql, *values)

    def _write_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._begin()
        with index_errors(self._path):
            self._connection.executemany(sql, rows)

    def _row(self, sql: str, value: bytes | str) -> int:
        rows = self._run(sql, value)
        with index_errors(self._path):
            return int(rows[0][0])

    def _run(self, sql: str, *values: Value) -> list[Any]:
        try:  # as `index_errors`, which would take half of the time of a look-up
            return self._connection.execute(sql, values).fetchall()
        except _TRANSLATED as error:
            raise _translate(error, self._path) from error
