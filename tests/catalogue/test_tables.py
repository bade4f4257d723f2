from pathlib import Path

import duckdb
import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.catalogue import query, tables
from ptmtorrent.catalogue.columns import FILE_COLUMNS, PACKAGE_COLUMNS, readable, rows_of
from ptmtorrent.catalogue.query import list_packages, open_locked
from ptmtorrent.catalogue.tables import FILES, PACKAGES, TableWriter
from ptmtorrent.errors import IntegrityError, NoSpace, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.manifest import Capture, Manifest
from ptmtorrent.model.subset import METADATA, POPULAR, wants
from tests.model.generated import manifest_of, new_capture


def members() -> list[tuple[Capture, Manifest]]:
    facts: list[tuple[str, dict[str, object]]] = [
        ("hf:a/many", {"downloads": 51, "likes": 3, "licence": "mit", "task": "fill-mask", "tags": ("x", "it's", "ü")}),
        ("hf:b/few", {"downloads": 50, "modified": "2024-01-02T03:04:05.000Z"}),
        ("hf:c/unknown", {"modified": "last tuesday"}),
        ("onnx:vision/x", {"library": "onnx"}),
    ]
    contents = [("config.json", b"{}"), ("model.safetensors", b"weights"), ("empty", b"")]
    return [(new_capture(name, **known), manifest_of(name, contents)) for name, known in facts]


def write(folder: Path, rows: list[tuple[Capture, Manifest]]) -> tuple[Path, Path]:
    with TableWriter(folder, 1) as tables:
        for capture, manifest in rows:
            tables.add(rows_of(capture, manifest))
        return tables.finish()


def ask(sql: str, table: Path) -> list[tuple[object, ...]]:
    with open_locked(table) as database:
        return database.execute(sql.replace("TABLE", f"read_parquet('{table}')")).fetchall()


def test_the_tables_have_the_columns_of_their_format_page(tmp_path: Path) -> None:
    packages, files = write(tmp_path, members())

    for table, columns in ((packages, PACKAGE_COLUMNS), (files, FILE_COLUMNS)):
        described = [(row[0], row[1]) for row in ask("DESCRIBE SELECT * FROM TABLE", table)]
        assert described == list(columns.items())


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    once = [path.read_bytes() for path in write(tmp_path / "one", members())]
    again = [path.read_bytes() for path in write(tmp_path / "two", members())]

    assert once == again


def test_unstated_values_are_null_and_stated_values_are_kept(tmp_path: Path) -> None:
    packages, _ = write(tmp_path, members())

    rows = ask("SELECT package, downloads, tags, strftime(modified, '%Y-%m-%d') FROM TABLE ORDER BY package", packages)

    assert rows == [
        ("hf:a/many", 51, ["x", "it's", "ü"], None),
        ("hf:b/few", 50, [], "2024-01-02"),
        ("hf:c/unknown", None, [], None),
        ("onnx:vision/x", None, [], None),
    ]


def test_the_sql_of_popular_picks_what_its_rule_takes(tmp_path: Path) -> None:
    packages, _ = write(tmp_path, members())
    sql = POPULAR.query.rsplit(": ", 1)[1].replace("FROM packages", "FROM TABLE")

    picked = {row[0] for row in ask(sql, packages)}

    assert picked == {capture.package for capture, _ in members() if POPULAR.takes(capture)}
    assert "hf:b/few" not in picked


def test_the_sql_of_metadata_picks_the_files_its_rule_wants(tmp_path: Path) -> None:
    _, files = write(tmp_path, members())
    sql = METADATA.query.rsplit(": ", 1)[1].replace("FROM files", "FROM TABLE")

    wanted = {
        (manifest.package.package, file.name)
        for _, manifest in members()
        for file in manifest.files
        if wants(METADATA.only, file)
    }

    assert set(ask(sql, files)) == wanted


def test_tables_of_packages_without_files_can_be_written(tmp_path: Path) -> None:
    capture = new_capture("hf:a/empty")

    packages, files = write(tmp_path, [(capture, manifest_of("hf:a/empty", []))])

    assert ask("SELECT files, bytes FROM TABLE", packages) == [(0, 0)]
    assert ask("SELECT count(*) FROM TABLE", files) == [(0,)]


def test_nothing_but_the_tables_is_left_behind(tmp_path: Path) -> None:
    write(tmp_path, members())

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([PACKAGES, FILES])


def test_a_folder_whose_name_has_a_quote_is_written_to(tmp_path: Path) -> None:
    packages, _ = write(tmp_path / "it's", members())

    assert len(list_packages(packages)) == 4


def test_a_list_shows_the_packages_by_name(tmp_path: Path) -> None:
    packages, _ = write(tmp_path, members())

    listed = list_packages(packages)

    assert [facts.package for facts in listed] == [capture.package for capture, _ in members()]
    assert (listed[0].licence, listed[0].files, listed[0].bytes) == ("mit", 3, 9)


def test_a_damaged_table_is_an_integrity_error(tmp_path: Path) -> None:
    table = tmp_path / PACKAGES
    table.write_bytes(b"PAR1 not really")

    with pytest.raises(IntegrityError, match="table of packages"):
        list_packages(table)


ENDLESS = "SELECT sum(a.range * b.range) FROM range(1000000000) a, range(1000) b"
COLUMNS = (
    "'s' AS snapshot, '' AS commit, 1 AS files, 1 AS bytes, 'open' AS rights, 'mit' AS licence, 1 AS downloads, 1 likes"
)


def write_bomb(table: Path, package: str, rows: int, options: str = "") -> Path:
    """Write a small table of so many equal rows, as other programs may."""
    select = f"SELECT {package} AS package, {COLUMNS}, 't' AS task, 'l' AS library FROM range({rows})"  # noqa: S608
    with duckdb.connect() as database:
        database.execute(f"COPY ({select}) TO '{table}' (FORMAT parquet, COMPRESSION zstd {options})")
    return table


def test_a_table_of_many_rows_is_refused_by_its_number_of_rows(tmp_path: Path) -> None:
    table = write_bomb(tmp_path / PACKAGES, "'hf:a/b'", 300_000)
    assert table.stat().st_size < 100_000
    with pytest.raises(IntegrityError, match="has 300000 rows, the release has 4 packages"):
        list_packages(table, 4)


def test_a_table_of_long_texts_is_refused_before_they_are_read(tmp_path: Path) -> None:
    table = write_bomb(tmp_path / PACKAGES, "repeat('x', 200000)", 1000)
    assert table.stat().st_size < 100_000
    with pytest.raises(IntegrityError, match="bytes of text in 1000 rows"):
        list_packages(table, 1000)


def test_a_table_of_many_row_groups_is_refused_by_the_length_of_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MAX_FOOTER_BYTES", 10_000)
    table = write_bomb(tmp_path / PACKAGES, "'hf:a/b'", 2048 * 20, ", ROW_GROUP_SIZE 2048")
    with pytest.raises(IntegrityError, match="footer"):
        list_packages(table, 2048 * 20)


def test_reading_a_table_is_limited_in_time_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_bomb(tmp_path / PACKAGES, "'hf:a/b'", 300_000)
    with open_locked(table) as database:
        [(limit,)] = database.execute("SELECT current_setting('memory_limit')").fetchall()
    assert limit == "256.0 MiB"

    monkeypatch.setattr(query, "READING_SECONDS", 0.05)
    monkeypatch.setattr(query, "_check_size", lambda database, *_: database.execute(ENDLESS))
    with pytest.raises(IntegrityError, match="INTERRUPT"):
        list_packages(table)


def test_a_table_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / PACKAGES).mkdir()

    with pytest.raises(StoreError):
        write(tmp_path, members())


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SET lock_configuration=false",
        "SET enable_external_access=true",
        "INSTALL httpfs",
        "ATTACH '{folder}/x.db'",
    ],
)
def test_a_locked_database_reads_its_tables_and_touches_nothing_else(tmp_path: Path, sql: str) -> None:
    packages, _ = write(tmp_path, members())

    with open_locked(packages) as database, pytest.raises(duckdb.Error):
        database.execute(sql.format(folder=tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([PACKAGES, FILES])


def test_a_path_that_is_not_utf8_is_spelled_with_escapes() -> None:
    assert readable("caf\udce9/ü.txt") == "caf\\xe9/ü.txt"


@pytest.mark.parametrize("temporary", [True, False])
def test_a_database_is_not_started_with_too_few_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, temporary: bool
) -> None:
    needed = tables.WRITING_ADDRESSES if temporary else tables.READING_ADDRESSES
    monkeypatch.setattr(tables, "addresses_left", lambda: needed - 1)

    with pytest.raises(StoreError, match=f"too little memory: {needed - 1} bytes are left, and a table takes {needed}"):
        tables.connect(tmp_path if temporary else None)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (duckdb.OutOfMemoryException("failed to allocate"), StoreError, "too little memory: the table"),
        (duckdb.Error("std::bad_alloc"), StoreError, "too little memory: the table"),
        (MemoryError(), StoreError, "too little memory: the table"),
        (duckdb.IOException("Could not write: No space left on device"), NoSpace, "the disk is full"),
        (duckdb.IOException("Cannot open file"), StoreError, "could not be written: Cannot open file"),
    ],
)
def test_a_failure_of_the_database_is_ours_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, error: type[Exception], message: str
) -> None:
    def failing(_: Path) -> duckdb.DuckDBPyConnection:
        raise failure

    monkeypatch.setattr(tables, "connect", failing)
    with pytest.raises(error, match=message) as caught:
        write(tmp_path, members())
    assert type(caught.value) is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [10, 1 << 20])
@pytest.mark.parametrize("table", [PACKAGES, FILES])
def test_rows_that_do_not_fit_the_disk_are_no_space_and_leave_nothing(tmp_path: Path, table: str, length: int) -> None:
    """Long rows fail as they are added, short ones when the file is closed."""
    (tmp_path / f"{table}.rows").symlink_to("/dev/full")
    capture = new_capture("hf:a/b", tags=("x" * length,))
    manifest = manifest_of("hf:a/b", [(f"{number}/{'x' * 200}", b"x") for number in range(length // 2000 + 1)])

    with pytest.raises(NoSpace, match="disk is full"):
        write(tmp_path, [(capture, manifest)])
    assert list(tmp_path.iterdir()) == []


def test_the_facts_of_a_package_are_the_hash_of_its_row_and_cover_its_files() -> None:
    capture, manifest = members()[0]
    rows = rows_of(capture, manifest)
    package, files = msgspec.json.decode(rows.package), [msgspec.json.decode(row) for row in rows.files]
    line = canonical.encode(package) + b"\n"

    assert rows.facts == blake3(line).hexdigest()
    assert package["files_blake3"] == blake3(b"".join(canonical.encode(row) + b"\n" for row in files)).hexdigest()
    other = manifest_of("hf:a/many", [("config.json", b"[]")])
    assert rows_of(capture, other).facts != rows.facts


def test_tables_tell_an_escape_from_the_byte() -> None:
    assert [readable(path) for path in ("a/b.json", "caf\udce9", "caf\\xe9")] == ["a/b.json", "caf\\xe9", "caf\\\\xe9"]
