"""Reads the tables of a release. The caller has checked the hash of the file; DuckDB can read only that file.

A small file may decode to any number of rows and bytes, so the end of the file, its rows and the bytes of its texts are
bounded before rows are read, and the time and memory of DuckDB always.
"""

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TypeVar

import duckdb
import msgspec

from ptmtorrent.catalogue.columns import INSTANT, PACKAGE_FACTS, Row, hash_rows
from ptmtorrent.catalogue.tables import PACKAGES, connect, is_out_of_memory, quote, rows_in
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import copy_listed
from ptmtorrent.disk.durable import disk_errors, open_regular
from ptmtorrent.errors import IntegrityError, out_of_memory
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.members import MIN_ROW_BYTES
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.model.text import count

MAX_FOOTER_BYTES = 1 << 20
"""Limit of the description of a table at its end: a thousand row groups of 122,880 rows. It is decoded whole."""

MAX_TEXT_BYTES = 8 << 10
"""Limit of the texts of a row, on average over the table."""

READING_SECONDS = 120.0
READING_BYTES = 256 << 20
"""The time and the memory that DuckDB may take to read a table."""

_END_BYTES = 8
_LENGTHS = {
    "VARCHAR": 'strlen("{}")',
    "VARCHAR[]": "strlen(array_to_string(\"{}\", ''))",
    "BIGINT": "0",
    "TIMESTAMP": "0",
}
"""The bytes of text in a value of each type of columns, as SQL."""


F = TypeVar("F", bound="PackageFacts")


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a release states about a package. Values that the hub did not state are None.

    `revision` is a commit or a version of the hub, and one of `commit` and `version` says which; or it is neither.
    """

    package: PackageName
    snapshot: SnapshotId
    revision: str | None = None
    commit: str | None = None
    version: str | None = None
    files: int
    bytes: int
    rights: Rights
    licence: str | None
    downloads: int | None
    likes: int | None
    task: str | None
    library: str | None
    missing: int | None
    title: str | None = None
    owner: str | None = None
    url: str | None = None


class PackageRow(PackageFacts, frozen=True, kw_only=True):
    """Everything that a release states about a package: the columns of its table. Times are in UTC.

    `sources` has where each fact was read, by its column.
    """

    hub: str
    name: str
    captured: str | None
    listed: str | None
    modified: str | None
    tags: tuple[str, ...] = ()
    creators: tuple[str, ...] | None = None
    owner_url: str | None = None
    architecture: str | None = None
    datasets: tuple[str, ...] | None = None
    papers: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    description: str | None = None
    sources: str | None = None


def list_packages(table: Path, rows: int | None = None) -> tuple[PackageFacts, ...]:
    """Return the packages of a `packages.parquet`, by name; `rows` is how many it must have.

    Raises:
        IntegrityError, StoreError: as `list_rows`.
    """
    return list_rows(table, PackageFacts, rows)


def list_rows(table: Path, kind: type[F], rows: int | None = None) -> tuple[F, ...]:
    """Return the rows of a `packages.parquet`, by package, with the columns that are fields of `kind`.

    Raises:
        IntegrityError: the file is not such a table, or exceeds a limit.
        StoreError: there is too little memory to read it.
    """
    return tuple(_facts(row, table, kind) for row in _rows(table, kind.__struct_fields__, rows))


def read_packages(release: Release, reader: ChannelReader, *, proven: bool = False) -> list[PackageFacts]:
    """Return the packages of `release`, by name, as `read_rows`.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: as `read_rows`.
    """
    return read_rows(release, reader, PackageFacts, proven=proven)


def read_rows(
    release: Release,
    reader: ChannelReader,
    kind: type[F],
    *,
    packages: Collection[PackageName] | None = None,
    proven: bool = False,
) -> list[F]:
    """Return the packages of `release`, by name, from private copies of its tables, which no other process changes.

    The table has a file for each run; a row of a later one replaces a row of an earlier one. With `proven` each row is
    that which the content root covers: a release that was opened by its content root has no signature over its list of
    tables. With `packages`, rows of no others are returned.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: a table cannot be read, or a row is another one.
    """
    names = tuple(PACKAGE_FACTS) if proven else kind.__struct_fields__
    newest: dict[str, Row] = {}
    tables = release.table("packages")
    members = _facts_of_members(release, reader) if proven else {}
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        copy = Path(folder) / PACKAGES
        for run, ref in zip(release.runs, tables, strict=True):
            if run.rows * MIN_ROW_BYTES > run.index.size:
                raise IntegrityError(f"`{run.index.path}` of {run.index.size} bytes cannot have {run.rows} rows")
            copy_listed(reader, release, ref, copy)
            newest |= {str(row["package"]): row for row in _rows(copy, names, run.rows)}
        found = {package: row for package, row in sorted(newest.items()) if row["snapshot"] is not None}
        facts = [_facts(row, copy, kind) for name, row in found.items() if packages is None or name in packages]
    if len(found) != release.totals.packages and not proven:
        raise IntegrityError(
            f"the tables of release `{release.name}` have {len(found)} packages, not {release.totals.packages}"
        )
    if proven:
        _prove(release, members, found, tables)
    return facts


def _facts_of_members(release: Release, reader: ChannelReader) -> dict[PackageName, str]:
    from ptmtorrent.catalogue.index import Index  # only the proof needs numpy

    return {member.package: member.row.facts for member in Index(release, reader).all()}


def _prove(
    release: Release, members: dict[PackageName, str], found: Mapping[str, Row], tables: Sequence[FileRef]
) -> None:
    """Refuse packages whose rows have not the hashes of the members of `release`, or that are not exactly these."""
    for package, row in found.items():
        if members.pop(PackageName(package), None) != hash_rows([row]):
            raise _not_covered(release, package, tables)
    for package in members:
        raise _not_covered(release, package, tables)


def _not_covered(release: Release, package: str, tables: Sequence[FileRef]) -> IntegrityError:
    listed = ", ".join(f"`{ref.path}`" for ref in tables)
    return IntegrityError(
        f"{listed}: says of `{package}` what the content root of release `{release.name}` does not cover",
        hint="use another mirror; this one is damaged",
    )


def _facts(row: Row, table: Path, kind: type[F]) -> F:
    try:
        return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error


def _rows(table: Path, names: Sequence[str], rows: int | None) -> list[Row]:
    """Return the columns `names` of a table, sorted by package."""
    columns = ", ".join(_column(name) for name in names)
    try:
        with open_locked(table) as database, limited(database):
            _check_size(database, table, names, rows)
            found = database.execute(f"SELECT {columns} FROM ({rows_in(table)})").fetchall()  # noqa: S608  # names are our constants
    except (duckdb.Error, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"`{table}` could not be read") from error
        raise IntegrityError(f"`{table}` cannot be read as a table of packages: {error}") from error
    return sorted((dict(zip(names, row, strict=True)) for row in found), key=lambda row: str(row["package"]))


def _column(name: str) -> str:
    return f"strftime(\"{name}\", '{INSTANT}')" if PACKAGE_FACTS[name] == "TIMESTAMP" else f'"{name}"'


@contextmanager
def limited(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt a query that takes longer than `READING_SECONDS`."""
    timer = Timer(READING_SECONDS, database.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_size(database: duckdb.DuckDBPyConnection, table: Path, names: Sequence[str], rows: int | None) -> None:
    """Refuse a table by what its columns `names` would decode to.

    Raises:
        IntegrityError: its end is too long, it has another number of rows than `rows`, or too long texts.
    """
    with disk_errors(table), os.fdopen(open_regular(table), "rb") as file:
        file.seek(max(0, table.stat().st_size - _END_BYTES))
        footer = int.from_bytes(file.read(4), "little")
    if footer > MAX_FOOTER_BYTES:
        raise IntegrityError(
            f"`{table}` cannot be read as a table of packages: its footer has {footer} bytes, over {MAX_FOOTER_BYTES}"
        )
    [(held,)] = database.execute(f"SELECT num_rows FROM parquet_file_metadata({quote(table)})").fetchall()  # noqa: S608
    if rows is not None and held != rows:
        raise IntegrityError(f"`{table}` has {held} rows, the release has {count(rows, 'package')}")
    texts = " + ".join(f"coalesce({_LENGTHS[PACKAGE_FACTS[name]].format(name)}, 0)" for name in names)
    [(size,)] = database.execute(f"SELECT sum({texts}) FROM ({rows_in(table)})").fetchall()  # noqa: S608  # names are our constants
    if size is not None and size > MAX_TEXT_BYTES * held:
        raise IntegrityError(
            f"`{table}` has {size} bytes of text in {held} rows, over the limit of {MAX_TEXT_BYTES} each"
        )


def open_locked(*tables: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory with locked settings that can access only `tables`."""
    database = connect(limit=READING_BYTES)
    allowed = ", ".join(quote(table) for table in tables)
    database.execute(f"SET allowed_paths=[{allowed}]")
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    return database
