"""The table `findings` of a release: written with the rows of earlier releases, read for one package.

Findings change with the tools that look for them, so the table is no part of the content root; the signature of the
release covers it.
"""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb
import msgspec

from ptmtorrent.catalogue.query import limited, open_locked
from ptmtorrent.catalogue.tables import connect, is_out_of_memory, quote, table_errors
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import copy_listed
from ptmtorrent.disk import durable
from ptmtorrent.errors import IntegrityError, out_of_memory
from ptmtorrent.model.findings import MAX_FINDINGS, Finding, Scan
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.release import Release

FINDINGS = "findings.parquet"

COLUMNS: dict[str, str] = {
    "package": "VARCHAR",
    "level": "VARCHAR",
    "file": "VARCHAR",
    "offset": "BIGINT",
    "rule": "VARCHAR",
    "meaning": "VARCHAR",
    "tool": "VARCHAR",
    "tool_version": "VARCHAR",
}
"""`findings.parquet`: one row per finding, by package, the worst of a package first; then file and offset."""

_NUMBER = "_number"


def write_findings(
    folder: Path, scans: Mapping[PackageName, Scan | None], earlier: Path | None, gone: Collection[PackageName]
) -> Path:
    """Write the table to `folder`: the findings of `scans`, and those of `earlier` whose packages are not in `gone`.

    Raises:
        NoSpace, StoreError: it cannot be written.
    """
    path, rows = folder / FINDINGS, folder / f"{FINDINGS}.rows"
    names = folder / f"{FINDINGS}.names"
    durable.ensure_dir(folder)
    with durable.disk_errors(path):
        with rows.open("wb") as file:
            for package in sorted(scans):
                scan = scans[package]
                file.writelines(
                    msgspec.json.encode(_row(package, finding)) + b"\n" for finding in (scan.findings if scan else ())
                )
        left = sorted(scans.keys() | set(gone))
        names.write_bytes(b"".join(msgspec.json.encode({"package": name}) + b"\n" for name in left))
    try:
        _copy(path, rows, names, earlier)
    finally:
        for each in (rows, names):
            each.unlink(missing_ok=True)
    durable.publish_file(path, path)
    return path


def _copy(path: Path, rows: Path, names: Path, earlier: Path | None) -> None:
    listed = ", ".join(f'"{name}"' for name in COLUMNS)
    read = "format='newline_delimited'"
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
    added = f"read_json({quote(rows)}, {read}, columns={{{columns}}})"
    parts = [f"SELECT {listed}, row_number() OVER () AS {_NUMBER} FROM {added}"]  # noqa: S608  # names are our constants
    if earlier is not None:
        other = f"SELECT package FROM read_json({quote(names)}, {read}, columns={{'package': 'VARCHAR'}})"  # noqa: S608
        parts.append(
            f"SELECT {listed}, file_row_number AS {_NUMBER} FROM read_parquet({quote(earlier)}, file_row_number=true) "  # noqa: S608  # names are our constants
            f"WHERE package NOT IN ({other})"
        )
    query = f"SELECT {listed} FROM ({' UNION ALL '.join(parts)}) ORDER BY package, {_NUMBER}"  # noqa: S608  # as above
    with table_errors(path), connect() as database:
        database.execute(f"COPY ({query}) TO {quote(path)} (FORMAT parquet, COMPRESSION zstd)")


def _row(package: PackageName, finding: Finding) -> dict[str, str | int | None]:
    tool, _, version = finding.tool.partition("/")
    return {
        "package": package,
        "level": finding.level,
        "file": finding.file,
        "offset": finding.offset,
        "rule": finding.rule,
        "meaning": finding.meaning,
        "tool": tool,
        "tool_version": version,
    }


def read_findings(release: Release, reader: ChannelReader, package: PackageName) -> list[Finding]:
    """Return the findings of a package that the release lists, the worst first.

    Raises:
        IntegrityError, NotFound, TransportError, StoreError: the table cannot be read.
    """
    ref = release.files.get("findings")
    if ref is None:
        return []
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        copy = Path(folder) / FINDINGS
        copy_listed(reader, release, ref, copy)
        texts = ", ".join(f'left("{name}", 1024)' for name in COLUMNS if name not in {"package", "offset"})
        query = f'SELECT "offset", {texts} FROM read_parquet({quote(copy)}) WHERE package = ? LIMIT {MAX_FINDINGS}'  # noqa: S608  # names are our constants
        try:
            with open_locked(copy) as database, limited(database):
                found = database.execute(query, [package]).fetchall()
            return [_finding(row) for row in found]
        except (duckdb.Error, MemoryError, ValueError) as error:
            if is_out_of_memory(error):
                raise out_of_memory(f"`{ref.path}` could not be read") from error
            raise IntegrityError(f"`{ref.path}` cannot be read as a table of findings: {error}") from error


def _finding(row: tuple[object, ...]) -> Finding:
    offset, level, file, rule, meaning, tool, version = row
    values = {"file": file, "rule": rule, "level": level, "meaning": meaning, "offset": offset}
    return msgspec.convert(values | {"tool": f"{tool}/{version}"}, Finding)
