"""A full disk under each SQLite file of a home is `NoSpace`, exit code 22, whichever file and statement meets it."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ptmtorrent.disk import database
from ptmtorrent.errors import NoSpace, PtmError
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.state.clone_journal import Journal
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.state.rate_windows import Budget, StoredWindows, Window
from ptmtorrent.state.upstream_flags import Flag, Flags
from ptmtorrent.store.index import open_index
from ptmtorrent.store.maintenance.references import References
from tests.faults.store_disks import small_tmpfs

DISK_BYTES = 1 << 20
Writes = Iterator[Callable[[], object]]


def ledger(folder: Path, stack: ExitStack) -> Writes:
    rows = stack.enter_context(Ledger(folder / "ledger.sqlite"))
    file = Path(__file__)
    for number in range(10_000):
        package = f"hf:a/{number}" + "c" * 5000
        yield lambda package=package: rows.record(file, blake3="a" * 64, package=package, snapshot="b" * 64)


def flags(folder: Path, stack: ExitStack) -> Writes:
    rows = stack.enter_context(Flags(folder / "flags.sqlite"))
    for number in range(10_000):
        flag = Flag(package=PackageName(f"hf:a/{number}"), flag="withdrawn", since="s", reason="r" * 5000)
        yield lambda flag=flag: rows.put(flag)


def journal(folder: Path, stack: ExitStack) -> Writes:
    rows = stack.enter_context(Journal(folder / "journal.sqlite"))
    run = rows.start("hub", "request", "listed").id
    for number in range(10_000):
        yield lambda number=number: rows.add_page(run, [(f"p{number}", 1, b"x" * 5000)], None)


def windows(folder: Path, stack: ExitStack) -> Writes:
    rows = stack.enter_context(StoredWindows(folder / "limits.sqlite", lambda: 0.0))
    for number in range(10_000):
        budget = Budget(f"host-{number}" + "x" * 5000, "api")
        yield lambda budget=budget: rows.write(budget, Window(quota=1), 0.0)


def index(folder: Path, stack: ExitStack) -> Writes:
    opened = open_index(folder / "index.sqlite", write=True)
    stack.callback(opened.close)

    def write(number: int) -> None:
        with opened.transaction():
            opened.row_of_part(f"part-{number}" + "x" * 5000, "open")

    for number in range(10_000):
        yield lambda number=number: write(number)


FILES = {"ledger": ledger, "flags": flags, "journal": journal, "windows": windows, "index": index}


def first_error(writes: Writes) -> PtmError:
    """Write until an error of ours; anything else that is raised fails the test."""
    for _, write in zip(range(10_000), writes, strict=False):
        try:
            write()
        except PtmError as error:
            return error
    raise AssertionError("ten thousand writes found room")


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.needs_root
def test_full_disk_under_a_database_is_no_space(name: str, tmp_path: Path) -> None:
    with small_tmpfs(tmp_path / "small", DISK_BYTES) as disk, ExitStack() as stack:
        error = first_error(FILES[name](disk, stack))
    assert isinstance(error, NoSpace), (type(error), error.message)
    assert error.code == 22
    assert str(tmp_path / "small") in error.message
    assert error.hint


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.needs_root
def test_database_that_cannot_be_created_on_a_full_disk_is_no_space(name: str, tmp_path: Path) -> None:
    with small_tmpfs(tmp_path / "small", DISK_BYTES) as disk, ExitStack() as stack:
        fill(disk / "filler")
        with pytest.raises(NoSpace):
            next(FILES[name](disk, stack))()


def test_temporary_table_that_finds_the_disk_full_is_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited() -> database.Connection:
        connection = database.connect_temporary()
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr("ptmtorrent.store.maintenance.references.connect_temporary", limited)
    with References(cache=1 << 12) as references, pytest.raises(NoSpace, match="temporary"):
        references.add(1, (ObjectId(f"{number:064x}") for number in range(10_000)))


def test_every_database_of_a_home_is_opened_in_one_module() -> None:
    """A file that is opened elsewhere would need errors, WAL and a version of its own."""
    source = Path(database.__file__)
    package = source.parents[1]
    users = [path for path in package.rglob("*.py") if re.search(r"(import|from) sqlite3", path.read_text("utf-8"))]
    assert users == [source]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
