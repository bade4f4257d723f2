"""Writes the tables of a release as Parquet: rows are added package by package, in order, and written once.

The bytes depend only on the rows and the version of DuckDB: one thread, rows in the given order, zstd. DuckDB loads no
extension and accesses only the files it is given.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import duckdb
import msgspec

from ptmtorrent.catalogue.columns import FILE_COLUMNS, PACKAGE_COLUMNS, Row, file_row, package_row
from ptmtorrent.config import addresses_left, memory_left
from ptmtorrent.disk import durable
from ptmtorrent.errors import NoSpace, StoreError, out_of_memory
from ptmtorrent.model.manifest import Capture, Manifest

PACKAGES = "packages.parquet"
FILES = "files.parquet"
_SPILL = ".spill"
READING_ADDRESSES = 192 << 20
WRITING_ADDRESSES = 640 << 20
"""The least addresses that DuckDB is started with: with less it may crash instead of failing."""
MIN_BYTES, MAX_BYTES = 32 << 20, 2 << 30
"""The memory that DuckDB may take: half of what is left, within these bounds."""


class TableWriter:
    """Collects the rows of `packages.parquet` and `files.parquet` below `folder`; `finish` writes the tables."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            rows.close()
            Path(rows.name).unlink(missing_ok=True)
        shutil.rmtree(self._folder / _SPILL, ignore_errors=True)

    def add(self, capture: Capture, manifest: Manifest) -> None:
        """Add one package and its files. Packages must be added in the order of their names."""
        _append(self._packages, [package_row(capture, manifest)])
        _append(self._files, [file_row(capture, file) for file in manifest.files])

    def finish(self) -> tuple[Path, Path]:
        """Write both tables, durably; return their paths, packages first.

        Raises:
            NoSpace: the disk is full.
            StoreError: DuckDB could not write a table.
        """
        for rows in (self._packages, self._files):
            with durable.disk_errors(self._folder):
                rows.close()
        packages, files = self._folder / PACKAGES, self._folder / FILES
        with _errors_of(packages):
            database = connect(self._folder / _SPILL)
        with database:
            _write_table(database, packages, PACKAGE_COLUMNS)
            _write_table(database, files, FILE_COLUMNS)
        return packages, files


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


def _append(rows: BinaryIO, batch: list[Row]) -> None:
    with durable.disk_errors(Path(rows.name)):
        rows.writelines(msgspec.json.encode(row) + b"\n" for row in batch)


def _write_table(database: duckdb.DuckDBPyConnection, path: Path, columns: dict[str, str]) -> None:
    rows = _rows_path(path.parent, path.name)
    # Times are cast after reading: an invalid time from a hub becomes NULL and does not fail the release.
    stored = {name: "VARCHAR" if kind == "TIMESTAMP" else kind for name, kind in columns.items()}
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in stored.items())
    picked = ", ".join(f'TRY_CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns.items())
    query = (
        f"COPY (SELECT {picked} FROM read_json({quote(rows)}, format='newline_delimited', columns={{{listed}}})) "  # noqa: S608  # names are our constants
        f"TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)"
    )
    with _errors_of(path):
        database.execute(query)
    durable.publish_file(path, path)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
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
