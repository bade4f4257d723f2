"""The file of the index: its tables and its transactions.

Errors of SQLite are raised as our own.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
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
    row INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE, part TEXT UNIQUE, size INTEGER NOT NULL,
    rights INTEGER NOT NULL);
CREATE TABLE parts (
    row INTEGER PRIMARY KEY, length INTEGER NOT NULL, objects INTEGER NOT NULL, hashes BLOB NOT NULL);
CREATE TABLE runs (row INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, level INTEGER NOT NULL);
CREATE TABLE objects (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, pack INTEGER NOT NULL, at INTEGER NOT NULL,
    stored INTEGER NOT NULL, raw INTEGER NOT NULL, codec INTEGER NOT NULL, kind INTEGER NOT NULL, base BLOB);
CREATE TABLE files (
    row INTEGER PRIMARY KEY AUTOINCREMENT, blake3 BLOB NOT NULL, sha256 BLOB NOT NULL, git_sha1 BLOB,
    size INTEGER NOT NULL, cutter TEXT NOT NULL, objects BLOB NOT NULL);
CREATE TABLE file_keys (
    generation INTEGER NOT NULL, head INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (generation, head, row))
    WITHOUT ROWID;
CREATE TABLE generations (row INTEGER PRIMARY KEY AUTOINCREMENT, level INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE captures (
    row INTEGER PRIMARY KEY, object BLOB NOT NULL, snapshot BLOB NOT NULL, package TEXT NOT NULL,
    captured TEXT NOT NULL, data BLOB NOT NULL, sequence INTEGER);
CREATE INDEX captures_by_time ON captures (captured, sequence);
CREATE TABLE highest (sequence INTEGER NOT NULL);
INSERT INTO highest VALUES (0);
CREATE TABLE sketches (key INTEGER NOT NULL, object BLOB NOT NULL, PRIMARY KEY (key, object)) WITHOUT ROWID;
PRAGMA user_version = 5;
"""
"""Every table but `sketches` grows at its end, so a commit writes what is new and not a page for each hash.

What finds rows by a hash is in memory while there are few (`_IN_MEMORY`), and is then written at once, sorted.
"""

_IN_MEMORY = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE staged_ids (id BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE fresh_keys (head INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (head, row)) WITHOUT ROWID;
"""
VERSION = 5
_OLDER = range(1, VERSION)

_BUSY_SECONDS = 10.0
"""Time that SQLite waits for another connection to release a lock."""

_PAGE_BYTES = 2048
"""A capture takes about 600 bytes, and the last page of each table is written by every commit."""

_CHECKPOINT_PAGES = 16384
"""Pages in the write-ahead log after which they are copied into the file: those of many commits at once."""

REBUILD_HINT = "rebuild it from the packs: ptmtorrent store repair --index"


def connect_index(path: Path, *, write: bool) -> Connection:
    """Connect to the index at `path`; for writing, create it if it is missing.

    Raises:
        StoreError: missing, damaged or not readable.
        UnsupportedFormat: another version wrote it.
    """
    with index_errors(path):
        connection = _connect_to_write(path) if write else connect_to_read(path, busy_seconds=_BUSY_SECONDS)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            connection.executescript(_IN_MEMORY)
            return connection
    connection.close()
    if version == 0:
        raise StoreError(f"the index `{path}` is empty: its creation was interrupted", hint=REBUILD_HINT)
    if version in _OLDER:
        raise UnsupportedFormat(
            f"the index `{path}` has version {version}, which an older ptmtorrent wrote", hint=REBUILD_HINT
        )
    raise UnsupportedFormat(
        f"the index `{path}` has version {version}; this program reads version {VERSION}",
        hint=UPGRADE_HINT,
    )


def is_older(path: Path) -> bool:
    """Return whether an older version of the program wrote the index at `path`, so that it has to be rebuilt."""
    with suppress(SqliteError), closing(connect_to_read(path, busy_seconds=_BUSY_SECONDS)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0] in _OLDER
    return False


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
        if is_new:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    except SqliteError:
        connection.close()
        raise
    return connection


def _is_missing(path: Path) -> bool:
    return path.parent.is_dir() and not path.exists()


Value = bytes | str | int | None


class Connected:
    """An open file. Writes form one transaction until `commit`, which blocks all other writers."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

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
