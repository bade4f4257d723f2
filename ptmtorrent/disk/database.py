"""Opens SQLite files: WAL mode, a version stamp, and errors of this project.

::

    with Database(path, name="the journal", schema=_SCHEMA, version=1, synchronous="FULL") as database:
        database.run("INSERT INTO run (hub) VALUES (?)", "huggingface")

A full disk is `NoSpace` (exit code 22) in any statement, and a file of a newer version is
`UnsupportedFormat` (23). Everything else that SQLite reports is `StoreError` (20).
"""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from ptmtorrent.disk.durable import disk_error, disk_errors, ensure_dir, is_unwritable
from ptmtorrent.errors import NoSpace, StoreError, UnsupportedFormat

SqliteError = sqlite3.Error
Connection = sqlite3.Connection
Synchronous = Literal["OFF", "NORMAL", "FULL"]
SQLITE_VERSION = sqlite3.sqlite_version

BUSY_SECONDS = 30.0
"""Time that a statement waits for another process to finish its transaction."""

_PRIMARY = 0xFF
"""Mask of the primary code in an extended result code."""
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_PERHAPS_FULL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_NOT_WRITABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ROWS = 256
"""Rows that `Database.stream` reads at a time."""
_UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})

UPGRADE_HINT = "install a newer ptmtorrent: pip install --upgrade ptmtorrent"


class Database:
    """An open SQLite file, created with `schema` when missing; None as `path` is a database in memory.

    `name` is what messages call it. A `version` is stamped into a new file and required of an existing one; None leaves
    files unstamped, and `schema` then consists of `CREATE ... IF NOT EXISTS`. `hint` is the next step that an error
    suggests, `outdated` that of a file of an older version. `any_thread` allows use from several threads, one at a
    time. A database in memory that may `spill` moves to an unnamed file once it outgrows a few megabytes. A file that
    may be `copied` is read into an unnamed file where its folder cannot be written; what is written there is lost.

    Raises:
        NoSpace: the disk is full.
        UnsupportedFormat: the file has another version.
        StoreError: the file cannot be opened.
    """

    def __init__(  # noqa: PLR0913  # the properties of a file
        self,
        path: Path | None,
        *,
        name: str,
        schema: str,
        version: int | None = None,
        synchronous: Synchronous = "FULL",
        hint: str | None = None,
        outdated: str | None = None,
        any_thread: bool = False,
        spill: bool = False,
        copied: bool = False,
    ) -> None:
        self._name = f"{name} in memory" if path is None else f"{name} `{path}`"
        source = path if copied and path is not None and is_unwritable(path.parent) else None
        journal = "OFF" if spill else "WAL"
        if source is not None:
            # What is in an unnamed file is of no use after a crash: the journal is for transactions that are undone.
            path, spill, journal = None, True, "MEMORY"
        self._path = path
        self._hint = hint
        self._outdated = outdated
        self._synchronous = synchronous
        self._lock = RLock()
        if path is not None:
            _create_private(path)
        with self.errors():
            location = ("" if spill else ":memory:") if path is None else path
            self._connection = connect(location, any_thread=any_thread)
        try:
            if source is not None:
                self._copy(source)
            self.run(f"PRAGMA journal_mode = {journal}")
            self._prepare(schema, version, synchronous)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self.errors():
            self._connection.close()

    def all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return every row of a query."""
        with self.errors():
            return self._connection.execute(statement, values).fetchall()

    def first(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        with self.errors():
            row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        return row

    def run(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement, which commits by itself outside of a `transaction`."""
        with self.errors():
            return self._connection.execute(statement, values)

    def run_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for every row."""
        with self.errors():
            self._connection.executemany(statement, rows)

    def stream(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, a few hundred at a time; what is written meanwhile may be among them."""
        with self.errors():
            cursor = self._connection.execute(statement, values)
        while True:
            with self.errors():
                rows = cursor.fetchmany(_ROWS)
            if not rows:
                return
            yield from rows

    @contextmanager
    def transaction(self, *, durable: bool | None = None) -> Iterator[None]:
        """Commit everything the block writes, or nothing of it.

        What is `durable` survives a power cut; what is not survives the end of the process at once, and a power cut
        from the next durable transaction on. None: as the file was opened.
        """
        with self.errors():
            if durable is not None:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                with self._connection:
                    yield
            finally:
                if durable is not None:
                    self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the SQLite errors of the block, and keep other threads out of it.

        Closing a file while another thread uses it would end the process.
        """
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise database_error(error, self._name, self._path, self._hint) from error

    def _copy(self, source: Path) -> None:
        with disk_errors(source):
            if not source.exists():
                return
        with self.errors(), closing(connect_to_read(source)) as written:
            written.backup(self._connection)

    def _prepare(self, schema: str, version: int | None, synchronous: Synchronous) -> None:
        self.run(f"PRAGMA synchronous = {synchronous}")
        if version is None:
            self.run(schema)
            return
        [(found,)] = self.all("PRAGMA user_version")
        if found == version:
            return
        if found:
            raise UnsupportedFormat(
                f"{self._name} has version {found}; this program reads version {version}",
                hint=self._outdated if self._outdated and found < version else UPGRADE_HINT,
            )
        with self.errors():
            self._connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")


def _create_private(path: Path) -> None:
    """Create an empty file for its owner alone where none is; refuse a link, because SQLite would follow it.

    An existing file is not opened: closing it would drop the locks of this process on it.
    """
    ensure_dir(path.parent)
    if path.is_symlink():
        raise disk_error(OSError(errno.ELOOP, os.strerror(errno.ELOOP)), path)
    if not path.exists():
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            return  # another process created it
        except OSError as error:
            raise disk_error(error, path) from error


def connect(
    location: Path | str, *, any_thread: bool = False, uri: bool = False, busy_seconds: float = BUSY_SECONDS
) -> sqlite3.Connection:
    """Return a connection in autocommit mode.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    connection = sqlite3.connect(
        location, timeout=busy_seconds, isolation_level=None, check_same_thread=not any_thread, uri=uri
    )
    # Some builds write zeros over what is deleted: every page of a table that is emptied. Nothing here is secret.
    connection.execute("PRAGMA secure_delete = OFF")
    return connection


class InDatabase:
    """What a subclass keeps in one database, `_rows`, which is closed when the context is left."""

    _rows: Database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; one in memory is gone then."""
        self._rows.close()


def connect_to_read(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Return a read-only connection, also on a disk that is read-only or full, where no process can write the file.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  # never raise
        raise sqlite3.OperationalError("it is not a file")  # SQLite would wait for the writer of a FIFO
    location = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        return _try_to_read(location, busy_seconds)
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode
        if code & _PRIMARY not in _NOT_WRITABLE and code not in _FULL:
            raise
        return _try_to_read(f"{location}&immutable=1", busy_seconds)


def _try_to_read(location: str, busy_seconds: float) -> sqlite3.Connection:
    connection = connect(location, any_thread=True, uri=True, busy_seconds=busy_seconds)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_temporary() -> sqlite3.Connection:
    """Return a temporary database: SQLite moves it to an unnamed file once it outgrows memory.

    Raises:
        sqlite3.Error: it cannot be created.
    """
    connection = connect("")
    connection.execute("PRAGMA journal_mode = OFF")
    return connection


def database_error(error: sqlite3.Error, name: str, path: Path | None, hint: str | None = None) -> StoreError:
    """Return the error of this project for an SQLite error of `name`, whose file is `path`."""
    if is_full(error, path):
        return NoSpace(
            f"the disk is full: {name} could not be written", hint="free some space and run the same command again"
        )
    return StoreError(f"{name} could not be used: {error}", hint=hint)


def is_full(error: BaseException | None, path: Path | None = None) -> bool:
    """Return whether a full disk caused the error.

    SQLite reports some full disks as a general I/O error or a file that cannot be opened; the free space of the disk of
    `path` then decides.
    """
    code = _code(error)
    if code in _FULL:
        return True
    return path is not None and code & _PRIMARY in _PERHAPS_FULL and _free_bytes(path.parent) == 0


def is_corrupt(error: BaseException | None) -> bool:
    """Return whether SQLite found the file to be damaged or not to be a database."""
    return _code(error) in _CORRUPT


def is_damage(error: BaseException | None) -> bool:
    """Return whether the file itself is at fault: damaged, or not readable from the disk.

    Errors of other types are raised by values that an intact file never has.
    """
    code = _code(error)
    wrong = code & _PRIMARY in {*_CORRUPT, sqlite3.SQLITE_ERROR} or code in _UNREADABLE
    return wrong or not isinstance(error, sqlite3.Error)


def _code(error: BaseException | None) -> int:
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code


def _free_bytes(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
