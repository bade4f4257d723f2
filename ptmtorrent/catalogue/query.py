"""Reads the tables of a release. The caller has checked the hash of the file; DuckDB can read only that file.

A small file may decode to any number of rows and bytes, so the end of the file, its rows and the bytes of its texts are
bounded before rows are read, and the time and memory of DuckDB always.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import duckdb
import msgspec

from ptmtorrent.catalogue.tables import PACKAGES, connect, is_out_of_memory, quote
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import copy_listed
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, out_of_memory
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.release import Release
from ptmtorrent.model.text import count

MAX_FOOTER_BYTES = 1 << 20
"""Limit of the description of a table at its end: a thousand row groups of 122,880 rows. It is decoded whole."""

MAX_TEXT_BYTES = 1 << 10
"""Limit of the texts of a row, on average over the table."""

READING_SECONDS = 120.0
READING_BYTES = 256 << 20
"""The time and the memory that DuckDB may take to read a table."""

_END_BYTES = 8
_TEXTS = ("package", "snapshot", "rights", "licence", "task", "library")


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a release states about a package. Values that the hub did not state are None."""

    package: PackageName
    snapshot: SnapshotId
    files: int
    bytes: int
    rights: Rights
    licence: str | None
    downloads: int | None
    likes: int | None
    task: str | None
    library: str | None


def list_packages(table: Path, rows: int | None = None) -> tuple[PackageFacts, ...]:
    """Return the packages of a `packages.parquet`, by name; `rows` is how many it must have.

    Raises:
        IntegrityError: the file is not such a table, or exceeds a limit.
        StoreError: there is too little memory to read it.
    """
    columns = ", ".join(f'"{name}"' for name in PackageFacts.__struct_fields__)
    try:
        with open_locked(table) as database, _limited(database):
            _check_size(database, table, rows)
            found = database.execute(f"SELECT {columns} FROM read_parquet({quote(table)})").fetchall()  # noqa: S608  # names are our constants
        facts = (
            msgspec.convert(dict(zip(PackageFacts.__struct_fields__, row, strict=True)), PackageFacts) for row in found
        )
        return tuple(sorted(facts, key=lambda row: row.package))
    except (duckdb.Error, msgspec.ValidationError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"`{table}` could not be read") from error
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error


@contextmanager
def _limited(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt a query that takes longer than `READING_SECONDS`."""
    timer = Timer(READING_SECONDS, database.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_size(database: duckdb.DuckDBPyConnection, table: Path, rows: int | None) -> None:
    """Refuse a table by what it would decode to.

    Raises:
        IntegrityError: its end is too long, it has another number of rows than `rows`, or too long texts.
    """
    with disk_errors(table), table.open("rb") as file:
        file.seek(max(0, table.stat().st_size - _END_BYTES))
        footer = int.from_bytes(file.read(4), "little")
    if footer > MAX_FOOTER_BYTES:
        raise IntegrityError(
            f"`{table}` cannot be read as a table of packages: its footer has {footer} bytes, over {MAX_FOOTER_BYTES}"
        )
    [(held,)] = database.execute(f"SELECT num_rows FROM parquet_file_metadata({quote(table)})").fetchall()  # noqa: S608
    if rows is not None and held != rows:
        raise IntegrityError(f"`{table}` has {held} rows, the release has {count(rows, 'package')}")
    texts = " + ".join(f'coalesce(strlen("{name}"), 0)' for name in _TEXTS)
    [(size,)] = database.execute(f"SELECT sum({texts}) FROM read_parquet({quote(table)})").fetchall()  # noqa: S608  # names are our constants
    if size is not None and size > MAX_TEXT_BYTES * held:
        raise IntegrityError(
            f"`{table}` has {size} bytes of text in {held} rows, over the limit of {MAX_TEXT_BYTES} each"
        )


def read_packages(release: Release, reader: ChannelReader) -> list[PackageFacts]:
    """Return the packages of `release`, by name, from a private copy of its table, which no other process changes.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: the table cannot be read.
    """
    facts: list[PackageFacts] = []
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        for ref in release.tables:
            if Path(ref.path).name == PACKAGES:
                copy = Path(folder) / PACKAGES
                copy_listed(reader, release, ref, copy)
                facts += list_packages(copy, release.totals.packages)
    return sorted(facts, key=lambda row: row.package)


def open_locked(*tables: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory with locked settings that can access only `tables`."""
    database = connect(limit=READING_BYTES)
    allowed = ", ".join(quote(table) for table in tables)
    database.execute(f"SET allowed_paths=[{allowed}]")
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    return database
