"""Quick checks of a pack and of the index: those that need no stored bytes of objects."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ptmtorrent.disk.database import SqliteError, connect_to_read, is_damage
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.pieces import alignment_of
from ptmtorrent.model.torrents import merkle_root
from ptmtorrent.store.index import open_index
from ptmtorrent.store.index.file import index_errors, is_older
from ptmtorrent.store.maintenance.verify_pack import Expectation, read_footer
from ptmtorrent.store.pack.format import MAX_HEADER_BYTES, Entry
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import open_pack

__all__ = ["MAX_PROBLEMS", "check_database", "check_index", "check_runs", "is_older"]

MAX_PROBLEMS = 20
"""Limit of problems of one kind that are reported."""


def check_index(path: Path, *, thorough: bool = True) -> list[str]:
    """Return the problems of the index at `path`: of its database, or else of its runs; empty if it is undamaged.

    `thorough` makes SQLite compare its tables with their indices as well.

    Raises:
        StoreError: the index cannot be read, but may be undamaged.
        UnsupportedFormat: a newer version wrote it.
    """
    return check_database(path, thorough=thorough) or [problem for _, problem in check_runs(path)][:MAX_PROBLEMS]


def check_database(path: Path, *, thorough: bool = True) -> list[str]:
    """Return the problems of the database of an index, found by SQLite and in its rows; see `check_index`."""
    if not path.is_file():
        return ["it is missing"]
    with index_errors(path):
        try:
            problems = _run_sqlite_check(path, "integrity_check" if thorough else "quick_check")
        except SqliteError as error:
            if not is_damage(error):
                raise
            return [str(error)]
    if problems:
        return problems
    index = open_index(path, write=False)
    try:
        objects, captures = index.invalid_rows(MAX_PROBLEMS), index.damaged_captures()
    except StoreError as error:
        if not is_damage(error.__cause__):
            raise
        return [error.message]
    finally:
        index.close()
    problems = [f"its row of the object `{identifier}` is invalid" for identifier in objects]
    return [*problems, *(f"its row of the capture `{identifier}` is wrong" for identifier in captures[:MAX_PROBLEMS])]


def check_runs(path: Path) -> list[tuple[Path, str]]:
    """Read all runs of the index whose database is at `path`; return those that are damaged or missing, and why.

    Raises:
        StoreError: one of them cannot be read, but may be undamaged.
    """
    index = open_index(path, write=False)
    try:
        return index.run_problems()
    finally:
        index.close()


def _run_sqlite_check(path: Path, check: str) -> list[str]:
    with closing(connect_to_read(path)) as connection:
        rows = connection.execute(f"PRAGMA {check}({MAX_PROBLEMS})").fetchall()
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return ["it is empty: its creation was interrupted"]
    return [str(row[0]) for row in rows if row[0] != "ok"]


def check_size(path: Path, expected: Expectation) -> str | None:
    """Return what is wrong with the size of a pack's file, or None.

    Raises:
        StoreError: the size cannot be read.
        NotFound: the file is missing.
    """
    if not path.is_file():
        raise NotFound(f"the pack `{expected.pack}` is missing")
    with disk_errors(path):
        size = path.stat().st_size
    return None if size == expected.size else f"its size is {size:,} bytes instead of {expected.size:,}"


def check_outline(path: Path, expected: Expectation, is_stored: Callable[[ObjectId], bool]) -> tuple[list[str], int]:
    """Return the problems of header and footer of the pack at `path`, and how many bytes were read.

    `is_stored` says whether the index lists an object in any pack. A delta whose base is not stored is correctly absent
    from the index.
    """
    try:
        with open_pack(path) as reader:
            reader.header()
            entries, footer = read_footer(reader)
    except (IntegrityError, UnsupportedFormat, StoreError) as error:
        return [error.message], 0
    problems = _against_index(entries, expected, is_stored)
    if expected.size - footer.end >= alignment_of(expected.size):
        problems.append("its footer does not end in its last piece")
    return problems, min(expected.size, MAX_HEADER_BYTES) + expected.size - footer.offset


def check_sidecar(root: Path, expected: Expectation) -> str | None:
    """Return what is wrong with the stored hashes of a pack, or None."""
    if not sidecar_in(root, expected.pack).is_file():
        return "its stored hashes are missing"
    known = read_sidecar(root, expected.pack)
    if known is None:
        return "its stored hashes are damaged"
    hashes = known[0]
    if hashes.size != expected.size:
        return f"its stored hashes are those of a pack of {hashes.size:,} bytes"
    if hashes.layer_v2 and merkle_root(hashes.layer_v2, alignment_of(hashes.size)) != hashes.root_v2:
        return "its piece layer does not hash to its root"
    return None


def _against_index(
    entries: tuple[Entry, ...], expected: Expectation, is_stored: Callable[[ObjectId], bool]
) -> list[str]:
    known = {entry.id: entry for entry in expected.entries}
    records = set(entries)  # an object may have two records
    wrong = [entry.id for entry in expected.entries if entry not in records]
    problems = [f"index and footer disagree about the object `{identifier}`" for identifier in wrong[:MAX_PROBLEMS]]
    absent = [
        entry.id
        for entry in entries
        if entry.id not in known and not is_stored(entry.id) and (entry.base is None or is_stored(entry.base))
    ]
    problems += [f"the index lacks its object `{identifier}`" for identifier in absent[:MAX_PROBLEMS]]
    return problems
