"""Writes the tables of a run as Parquet: rows are added package by package, in order, or taken from earlier runs.

The bytes depend only on the rows and the version of DuckDB: one thread, rows in the given order, zstd. DuckDB loads no
extension and accesses only the files it is given.
"""

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import duckdb
import msgspec

from ptmtorrent.catalogue.columns import FILE_FACTS, LATER, PACKAGE_FACTS, PackageRows
from ptmtorrent.config import addresses_left, memory_left
from ptmtorrent.disk import durable
from ptmtorrent.errors import NoSpace, StoreError, out_of_memory
from ptmtorrent.model.ids import PackageName

PACKAGES = "packages.parquet"
FILES = "files.parquet"
_SPILL = ".spill"
_NUMBER = "_number"
"""The order in which rows were added, in the files of rows alone."""
_ENCODER = msgspec.json.Encoder()
_LINES = "format='newline_delimited',"
READING_ADDRESSES = 192 << 20
WRITING_ADDRESSES = 640 << 20
"""The least addresses that DuckDB is started with: with less it may crash instead of failing."""
MIN_BYTES, MAX_BYTES = 32 << 20, 2 << 30
"""The memory that DuckDB may take: half of what is left, within these bounds."""


class EarlierTables(msgspec.Struct, frozen=True, kw_only=True):
    """The files of both tables for one earlier run, and the packages whose rows a new run takes from them."""

    packages: Path
    files: Path
    taken: Collection[PackageName]


class TableWriter:
    """Collects the rows of a new run's files of both tables below `folder`; `finish` writes the files.

    `release` is the sequence of the release.
    """

    def __init__(self, folder: Path, release: int) -> None:
        self._folder = folder
        self._release = release
        self._number = 0
        self._is_sorted = True
        durable.ensure_dir(folder)
        with durable.disk_errors(folder):
            self._packages = _rows_path(folder, PACKAGES).open("wb")
            self._files = _rows_path(folder, FILES).open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for rows in (self._packages, self._files):
            with suppress(OSError):  # rows that a full disk did not take, which raised the error already
                rows.close()
            Path(rows.name).unlink(missing_ok=True)
        shutil.rmtree(self._folder / _SPILL, ignore_errors=True)

    def add(self, rows: PackageRows) -> None:
        """Add one package and its files. Packages must be added in the order of their names."""
        self._append(self._packages, [rows.package])
        self._append(self._files, rows.files)

    def remove(self, package: PackageName) -> None:
        """Say that a package, which an earlier file has, is no member any more."""
        self._is_sorted = False
        self._append(self._packages, [_ENCODER.encode({"package": package})])

    def finish(self, earlier: Sequence[EarlierTables] = ()) -> tuple[Path, Path]:
        """Write both tables, with the rows that are taken from `earlier` ones, durably; return them, packages first.

        Raises:
            NoSpace: the disk is full.
            StoreError: DuckDB could not write a table.
        """
        for rows in (self._packages, self._files):
            with durable.disk_errors(self._folder):
                rows.close()
        packages, files = self._folder / PACKAGES, self._folder / FILES
        with table_errors(packages):
            database = connect(self._folder / _SPILL)
        with database:
            for table, columns in ((packages, PACKAGE_FACTS), (files, FILE_FACTS)):
                _write_table(database, table, self._query(table, columns, earlier))
        return packages, files

    def _query(self, table: Path, columns: dict[str, str], earlier: Sequence[EarlierTables]) -> str:
        """Return the SQL of the rows of a file: those that were added, and those that are taken, by package."""
        listed = ", ".join(f'"{name}"' for name in columns)
        parts = [_added(_rows_path(self._folder, table.name), columns)]
        for number, each in enumerate(earlier):
            source = each.packages if table.name == PACKAGES else each.files
            names = self._write_names(number, each.taken)
            parts.append(_taken(source, names, listed))
        order = "" if self._is_sorted and not earlier else f" ORDER BY package, {_NUMBER}"
        union = " UNION ALL ".join(parts)
        return f"SELECT {listed}, CAST({self._release} AS BIGINT) AS release FROM ({union}){order}"  # noqa: S608  # names are our constants

    def _write_names(self, number: int, packages: Collection[PackageName]) -> Path:
        path = self._folder / _SPILL / f"{number}.names"
        with durable.disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(msgspec.json.encode({"package": name}) + b"\n" for name in sorted(packages)))
        return path

    def _append(self, rows: BinaryIO, batch: Sequence[bytes]) -> None:
        """Write rows, which are objects of JSON, each with its number as one more member."""
        numbers = range(self._number + 1, self._number + 1 + len(batch))
        self._number += len(batch)
        lines = [
            b'%s,"%s":%d}\n' % (row[:-1], _NUMBER.encode(), number) for row, number in zip(batch, numbers, strict=True)
        ]
        try:
            rows.writelines(lines)
        except OSError as error:
            raise durable.disk_error(error, Path(rows.name)) from error


def connect(temporary: Path | None = None, *, limit: int = MAX_BYTES) -> duckdb.DuckDBPyConnection:
    """Return a database in memory of at most `limit` bytes; it spills to `temporary`, or not at all for None.

    It loads no extension.

    Raises:
        StoreError: there is too little memory for it.
    """
    left, needed = addresses_left(), READING_ADDRESSES if temporary is None else WRITING_ADDRESSES
    if left < needed:
        raise out_of_memory(f"{left} bytes are left, and a table takes {needed}")
    return duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{min(limit, max(MIN_BYTES, min(left, memory_left()) // 2)) >> 20}MiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": "" if temporary is None else str(temporary),
        },
    )


def is_out_of_memory(error: Exception) -> bool:
    """Return whether DuckDB failed for lack of memory."""
    return isinstance(error, (duckdb.OutOfMemoryException, MemoryError)) or "bad_alloc" in str(error)


def quote(path: Path) -> str:
    """Return `path` as a string literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _rows_path(folder: Path, table: str) -> Path:
    return folder / f"{table}.rows"


def _added(rows: Path, columns: dict[str, str]) -> str:
    """Return the SQL of the rows that were added."""
    # Times are cast after reading: an invalid time from a hub becomes NULL and does not fail the release.
    stored = {name: "VARCHAR" if kind == "TIMESTAMP" else kind for name, kind in columns.items()} | {_NUMBER: "BIGINT"}
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in stored.items())
    picked = ", ".join(f'TRY_CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns.items())
    return f"SELECT {picked}, {_NUMBER} FROM read_json({quote(rows)}, {_LINES} columns={{{listed}}})"  # noqa: S608  # names are our constants


def _taken(source: Path, names: Path, listed: str) -> str:
    """Return the SQL of the rows of the packages in the file `names` that the table `source` has."""
    wanted = f"SELECT package FROM read_json({quote(names)}, {_LINES} columns={{'package': 'VARCHAR'}})"  # noqa: S608  # names are our constants
    table = f"({rows_in(source, 'file_row_number=true')})"
    return f"SELECT {listed}, file_row_number AS {_NUMBER} FROM {table} WHERE package IN ({wanted})"  # noqa: S608  # names are our constants


def rows_in(table: Path, *options: str) -> str:
    """Return the SQL of the rows of a table; columns that are `LATER` than the table are NULL."""
    read = ", ".join((quote(table), *options))
    later = ", ".join(f"CAST(NULL AS {PACKAGE_FACTS[name]}) AS {name}" for name in LATER)
    return f"SELECT * FROM read_parquet({read}) UNION ALL BY NAME SELECT {later} WHERE false"  # noqa: S608  # a path of ours


def _write_table(database: duckdb.DuckDBPyConnection, path: Path, query: str) -> None:
    with table_errors(path):
        database.execute(f"COPY ({query}) TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)")
    durable.publish_file(path, path)


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Raise DuckDB's errors while the table at `path` is written as ours."""
    try:
        yield
    except (duckdb.Error, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"the table `{path}` could not be written") from error
        if "No space left" in str(error):
            raise NoSpace(
                f"the disk is full: `{path}` could not be written",
                hint="free some space and run the same command again",
            ) from error
        raise StoreError(f"the table `{path}` could not be written: {error}") from error
