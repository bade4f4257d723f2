"""A release that was opened by its content root: no signature covers its tables, and each row is proven by the root."""

from pathlib import Path

import duckdb
import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.catalogue.query import read_packages
from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.release import FileRef, Release, TableRef, decode_release, placement_root
from ptmtorrent.paths import sample_channel

PATH = "releases/sample/tables/packages.parquet"


class Altered:
    """Reads the sample channel, but its table of packages from memory."""

    def __init__(self, table: bytes) -> None:
        self.location = "altered"
        self._table = table
        self._reader = LocalReader(sample_channel())

    def read(self, path: str, *, limit: int) -> bytes:
        return self._table if path == PATH else self._reader.read(path, limit=limit)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        if path == PATH:
            return self._table[offset : offset + length]
        return self._reader.read_range(path, offset, length)


@pytest.fixture(scope="module")
def release() -> Release:
    return decode_release((sample_channel() / "releases/sample/release.json").read_bytes())


def altered(release: Release, folder: Path, sql: str) -> tuple[Release, Altered]:
    """The release with a table of the rows that `sql` selects, listed as a mirror could list it."""
    path = folder / "packages.parquet"
    query = sql.format(f"read_parquet('{sample_channel() / PATH}')")
    duckdb.connect().execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    data = path.read_bytes()
    ref = FileRef(path=PATH, size=len(data), blake3=blake3(data).hexdigest())
    tables = tuple(
        TableRef(name="packages", files=(ref,)) if each.name == "packages" else each for each in release.tables
    )
    root = placement_root(release.runs, release.tree, tables, release.volumes)
    return msgspec.structs.replace(release, tables=tables, placement_root=root), Altered(data)


def test_rows_of_the_sample_are_proven(release: Release) -> None:
    reader = LocalReader(sample_channel())

    found = read_packages(release, reader, proven=True)

    assert found == read_packages(release, reader)
    assert len(found) == release.totals.packages


def test_the_same_rows_in_another_file_are_proven_too(release: Release, tmp_path: Path) -> None:
    other, reader = altered(release, tmp_path, "SELECT * FROM {} ORDER BY hash(package)")

    assert other.content_root == release.content_root
    assert read_packages(other, reader, proven=True) == read_packages(release, LocalReader(sample_channel()))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * REPLACE (coalesce(downloads, 0) + 1 AS downloads) FROM {}",
        "SELECT * REPLACE ('mit' AS licence) FROM {}",
        "SELECT * REPLACE (tags || ['x'] AS tags) FROM {}",
        "SELECT * REPLACE (captured + INTERVAL 1 MICROSECOND AS captured) FROM {}",
        "SELECT * REPLACE (repeat('0', 64) AS files_blake3) FROM {}",
        "SELECT * REPLACE ('hf:other/' || name AS package) FROM {}",
        "SELECT * FROM {} ORDER BY package OFFSET 1",
        "SELECT * FROM {} UNION ALL (SELECT * FROM {} LIMIT 1)",
        "(SELECT * FROM {} ORDER BY package LIMIT 22) UNION ALL (SELECT * FROM {} ORDER BY package LIMIT 1)",
    ],
)
def test_a_row_that_the_content_root_does_not_cover_is_refused(release: Release, tmp_path: Path, sql: str) -> None:
    other, reader = altered(release, tmp_path, sql.replace("{}", "{0}"))

    with pytest.raises(IntegrityError):
        read_packages(other, reader, proven=True)


def test_a_table_of_other_packages_than_the_release_counts_is_refused(release: Release) -> None:
    totals = msgspec.structs.replace(release.totals, packages=release.totals.packages + 1)

    with pytest.raises(IntegrityError, match=f"have {release.totals.packages} packages, not {totals.packages}"):
        read_packages(msgspec.structs.replace(release, totals=totals), LocalReader(sample_channel()))


def test_a_run_of_more_rows_than_its_index_holds_is_refused_before_its_table_is_copied(release: Release) -> None:
    run = release.runs[0]
    lying = msgspec.structs.replace(
        release, runs=(msgspec.structs.replace(run, rows=run.index.size), *release.runs[1:])
    )

    with pytest.raises(IntegrityError, match=f"`{run.index.path}` of .* bytes cannot have {run.index.size} rows"):
        read_packages(lying, Altered(b"never read"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * REPLACE ('stolen' AS rights) FROM {}",
        "SELECT * REPLACE (NULL::BIGINT AS files) FROM {}",
        "SELECT * REPLACE ('many' AS downloads) FROM {}",
    ],
)
def test_a_table_of_values_that_no_package_has_is_refused(release: Release, tmp_path: Path, sql: str) -> None:
    other, reader = altered(release, tmp_path, sql.replace("{}", "{0}"))

    with pytest.raises(IntegrityError, match=r"packages\.parquet` cannot be read as a table of packages"):
        read_packages(other, reader)
