"""Reads the tables of a release. The caller has checked the hash of the file; DuckDB can read only that file."""

from pathlib import Path

import duckdb
import msgspec

from ptmtorrent.catalogue.tables import connect, quote
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackageName, SnapshotId


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a list shows about a package. Values that the hub did not state are None."""

    package: PackageName
    snapshot: SnapshotId
    files: int
    bytes: int
    licence: str | None
    downloads: int | None
    likes: int | None
    task: str | None
    library: str | None


def list_packages(table: Path) -> tuple[PackageFacts, ...]:
    """Return the packages of a `packages.parquet`, by name.

    Raises:
        IntegrityError: the file is not such a table.
    """
    columns = ", ".join(f'"{name}"' for name in PackageFacts.__struct_fields__)
    try:
        with open_locked(table) as database:
            rows = database.execute(f"SELECT {columns} FROM read_parquet({quote(table)}) ORDER BY package").fetchall()  # noqa: S608  # names are our constants
        return tuple(
            msgspec.convert(dict(zip(PackageFacts.__struct_fields__, row, strict=True)), PackageFacts) for row in rows
        )
    except (duckdb.Error, msgspec.ValidationError) as error:
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error


def open_locked(*tables: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory with locked settings that can access only `tables`."""
    database = connect()
    allowed = ", ".join(quote(table) for table in tables)
    database.execute(f"SET allowed_paths=[{allowed}]")
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    return database
