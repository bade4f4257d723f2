"""The quick looks at a pack and at the index: what can be told without reading stored bytes."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ptmtorrent.disk.database import SqliteError, connect_to_read, is_damage
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.torrents import merkle_root
from ptmtorrent.store.index import index_errors, open_index
from ptmtorrent.store.maintenance.verify_pack import Expectation, read_footer
from ptmtorrent.store.pack.format import MAX_HEADER_BYTES, Entry
from ptmtorrent.store.pack.hashes import read_sidecar, sidecar_in
from ptmtorrent.store.pack.reader import open_pack

MAX_PROBLEMS = 20


def check_index(path: Path, *, thorough: bool = True) -> list[str]:
    """Return what is wrong with the index at `path`, by SQLite and by what it says itself; nothing when it is whole.

    Only when `thorough`, SQLite compares its tables with what it finds their rows by.

    Raises:
        StoreError: it cannot be read, and may be whole.
        UnsupportedFormat: made by a newer version.
    """
    if not path.is_file():
        return ["it is missing"]
    with index_errors(path):
        try:
            problems = _ask_sqlite(path, "integrity_check" if thorough else "quick_check")
        except SqliteError as error:
            if not is_damage(error):
                raise
            return [str(error)]
    if problems:
        return problems
    index = open_index(path, write=False)
    try:
        nonsense, captures = index.nonsense(MAX_PROBLEMS), index.damaged_captures()
    except StoreError as error:
        if not is_damage(error.__cause__):
            raise
        return [error.message]
    finally:
        index.close()
    problems = [f"it says of the object `{identifier}` what cannot be" for identifier in nonsense]
    return [*problems, *(f"it is wrong about the capture `{identifier}`" for identifier in captures[:MAX_PROBLEMS])]


def _ask_sqlite(path: Path, check: str) -> list[str]:
    with closing(connect_to_read(path)) as connection:
        rows = connection.execute(f"PRAGMA {check}({MAX_PROBLEMS})").fetchall()
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return ["it is empty: it was never finished"]
    return [str(row[0]) for row in rows if row[0] != "ok"]


def check_size(path: Path, expected: Expectation) -> str | None:
    """Say what is wrong with the file of a pack, if anything.

    Raises:
        StoreError: it cannot be asked for.
        NotFound: there is none.
    """
    if not path.is_file():
        raise NotFound(f"the pack `{expected.pack}` is missing")
    with disk_errors(path):
        size = path.stat().st_size
    return None if size == expected.size else f"it is {size} bytes, and was {expected.size}"


def check_outline(path: Path, expected: Expectation, is_here: Callable[[ObjectId], bool]) -> tuple[list[str], int]:
    """Return what is wrong with header and footer of the pack at `path`, and how many bytes were read.

    `is_here` tells of an object that the footer lists and the index has elsewhere. A delta whose base is not here is
    rightly unknown.
    """
    try:
        with open_pack(path) as reader:
            reader.header()
            entries, footer = read_footer(reader)
    except (IntegrityError, UnsupportedFormat, StoreError) as error:
        return [error.message], 0
    problems = _against_index(entries, expected, is_here)
    if expected.size - footer.end >= 1 << 22:
        problems.append("its footer does not end in its last 4 MiB")
    return problems, min(expected.size, MAX_HEADER_BYTES) + expected.size - footer.offset


def check_sidecar(root: Path, expected: Expectation) -> str | None:
    """Say what is wrong with the hashes that are kept of a pack, if anything."""
    if not sidecar_in(root, expected.pack).is_file():
        return "its hashes are missing"
    known = read_sidecar(root, expected.pack)
    if known is None:
        return "its hashes are damaged"
    hashes = known[0]
    if hashes.size != expected.size:
        return f"its hashes are those of {hashes.size} bytes"
    if hashes.layer_v2 and merkle_root(hashes.layer_v2) != hashes.root_v2:
        return "its piece layer does not hash to its root"
    return None


def _against_index(entries: tuple[Entry, ...], expected: Expectation, is_here: Callable[[ObjectId], bool]) -> list[str]:
    known = {entry.id: entry for entry in expected.entries}
    records = set(entries)  # an object may be there twice
    wrong = [entry.id for entry in expected.entries if entry not in records]
    problems = [f"the index places `{identifier}` elsewhere than its footer" for identifier in wrong[:MAX_PROBLEMS]]
    absent = [
        entry.id
        for entry in entries
        if entry.id not in known and not is_here(entry.id) and (entry.base is None or is_here(entry.base))
    ]
    problems += [f"the index lacks its object `{identifier}`" for identifier in absent[:MAX_PROBLEMS]]
    return problems
