"""Reads the tables of a release. The caller has checked the hash of the file; DuckDB can read only that file."""

import tempfile
from pathlib import Path

import duckdb
import msgspec

from ptmtorrent.catalogue.tables import PACKAGES, connect, is_out_of_memory, quote
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import IntegrityError, out_of_memory
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.release import Release


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


def list_packages(table: Path) -> tuple[PackageFacts, ...]:
    """Return the packages of a `packages.parquet`, by name.

    Raises:
        IntegrityError: the file is not such a table.
        StoreError: there is too little memory to read it.
    """
    columns = ", ".join(f'"{name}"' for name in PackageFacts.__struct_fields__)
    try:
        with open_locked(table) as database:
            rows = database.execute(f"SELECT {columns} FROM read_parquet({quote(table)}) ORDER BY package").fetchall()  # noqa: S608  # names are our constants
        return tuple(
            msgspec.convert(dict(zip(PackageFacts.__struct_fields__, row, strict=True)), PackageFacts) for row in rows
        )
    except (duckdb.Error, msgspec.ValidationError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"`{table}` could not be read") from error
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error


def read_packages(release: Release, reader: ChannelReader) -> list[PackageFacts]:
    """Return the packages of `release`, by name, from a private copy of its table, which no other process changes.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: the table cannot be read.
    """
    facts: list[PackageFacts] = []
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        for ref in release.table("packages"):
            copy = Path(folder) / PACKAGES
            copy.write_bytes(read_listed(reader, release, ref))
            facts += list_packages(copy)
    return sorted(facts, key=lambda row: row.package)


def open_locked(*tables: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory with locked settings that can access only `tables`."""
    database = connect()
    allowed = ", ".join(quote(table) for table in tables)
    database.execute(f"SET allowed_paths=[{allowed}]")
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    return database
