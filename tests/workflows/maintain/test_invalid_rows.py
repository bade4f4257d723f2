"""Invalid rows of an index: they are reported, never followed, and gone after a repair."""

import sqlite3
from contextlib import closing

import pytest

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.info import info as read_info
from ptmtorrent.workflows.maintain.repair import repair
from tests.channels import Heard, Made
from tests.workflows.maintain.stores import check, largest_object

INVALID = [
    ("stored", 1 << 40),
    ("stored", (1 << 63) - 1),
    ("stored", -1),
    ("stored", 1.5),
    ("raw", 1 << 40),
    ("at", -1),
    ("at", "text"),
    ("codec", -1),
    ("codec", "text"),
    ("kind", 77),
    ("base", "text"),
    ("base", b"short"),
    ("pack", 999),
]


def corrupt(made: Made, column: str, value: object) -> ObjectId:
    """List the largest object in SQLite alone, as one whose pack was just sealed, with an invalid value."""
    found = largest_object(made.home)
    identifier = found.entry.id
    assert found.pack is not None
    with closing(sqlite3.connect(made.home.store / "index.sqlite", isolation_level=None)) as index:
        index.execute(
            "INSERT INTO objects (id, pack, at, stored, raw, codec, kind, base)"
            " SELECT ?, row, ?, ?, ?, ?, 0, NULL FROM packs WHERE id = ?",
            (
                bytes.fromhex(identifier),
                *(found.entry.offset, found.entry.stored, found.entry.raw, found.entry.codec),
                bytes.fromhex(found.pack),
            ),
        )
        index.execute("DELETE FROM runs")
        index.execute(f"UPDATE objects SET {column} = ? WHERE id = ?", (value, bytes.fromhex(identifier)))  # noqa: S608  # of INVALID
    return identifier


@pytest.mark.parametrize(("column", "value"), INVALID)
def test_an_invalid_row_is_damage_of_the_index_and_is_repaired(made: Made, column: str, value: object) -> None:
    identifier = corrupt(made, column, value)
    (finding,) = check(made.home, "quick")[0].findings
    assert finding.what == "index"
    assert repair(made.home, None, level="normal", emit=Heard(), stop=Stop()).summary.failed == 0
    assert check(made.home, "data")[0].summary.failed == 0
    with Store.open(made.home.store) as store:
        store.read(identifier)


@pytest.mark.parametrize(("column", "value"), INVALID)
def test_reading_an_invalid_row_raises_an_error_of_ours(made: Made, column: str, value: object) -> None:
    identifier = corrupt(made, column, value)
    with Store.open(made.home.store) as store, pytest.raises(PtmError):
        store.read(identifier)
    try:
        read_info(made.home, 3)
    except PtmError as error:
        assert error.hint == "rebuild it from the packs: ptmtorrent store repair --index"  # noqa: PT017  # if at all
