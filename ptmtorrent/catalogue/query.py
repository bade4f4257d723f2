"""Reads the tables of a release. The caller has checked the hash of the file; DuckDB can read only that file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec

from ptmtorrent.catalogue.columns import INSTANT, PACKAGE_COLUMNS, hash_rows
from ptmtorrent.catalogue.index import Index
from ptmtorrent.catalogue.tables import PACKAGES, connect, is_out_of_memory, quote
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import IntegrityError, out_of_memory
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.release import FileRef, Release


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
    return tuple(facts for facts, _ in _rows(table))


def read_packages(release: Release, reader: ChannelReader, *, proven: bool = False) -> list[PackageFacts]:
    """Return the packages of `release`, by name, from private copies of its tables, which no other process changes.

    Tables are the files that the release lists. With `proven` each row is that which the content root covers: a release
    that was opened by its content root has no signature over its list of tables.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: a table cannot be read, or a row is another one.
    """
    members = {member.package: member.row for member in Index(release, reader).all()} if proven else {}
    found: list[PackageFacts] = []
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        for ref in release.table("packages"):
            copy = Path(folder) / PACKAGES
            copy.write_bytes(read_listed(reader, release, ref))
            for facts, digest in _rows(copy):
                if proven and (facts.package not in members or members.pop(facts.package).facts != digest):
                    raise _not_covered(release, ref, facts.package)
                found.append(facts)
    if members:
        raise _not_covered(release, release.tree, min(members))
    return sorted(found, key=lambda row: row.package)


def _not_covered(release: Release, ref: FileRef, package: PackageName) -> IntegrityError:
    return IntegrityError(
        f"`{ref.path}` says of `{package}` what the content root of release `{release.name}` does not cover",
        hint="use another mirror; this one is damaged",
    )


def _rows(table: Path) -> Iterator[tuple[PackageFacts, str]]:
    """Yield the packages of a table, by name, each with the hash of its row."""
    names = list(PACKAGE_COLUMNS)
    columns = ", ".join(
        f"strftime(\"{name}\", '{INSTANT}')" if kind == "TIMESTAMP" else f'"{name}"'
        for name, kind in PACKAGE_COLUMNS.items()
    )
    try:
        with open_locked(table) as database:
            found = database.execute(f"SELECT {columns} FROM read_parquet({quote(table)}) ORDER BY package").fetchall()  # noqa: S608  # names are our constants
        for values in found:
            row = dict(zip(names, values, strict=True))
            facts = msgspec.convert({name: row[name] for name in PackageFacts.__struct_fields__}, PackageFacts)
            yield facts, hash_rows([row])
    except (duckdb.Error, msgspec.ValidationError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"`{table}` could not be read") from error
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error


def open_locked(*tables: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory with locked settings that can access only `tables`."""
    database = connect()
    allowed = ", ".join(quote(table) for table in tables)
    database.execute(f"SET allowed_paths=[{allowed}]")
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    return database
