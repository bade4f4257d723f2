"""`store-index.run` pins the bytes of a run: two packs, three objects, one of them a delta."""

from pathlib import Path

import numpy as np

from ptmtorrent.store.index.run import Listed, Run
from ptmtorrent.store.index.run_writer import write_rows

GOLDEN = Path(__file__).parents[2] / "golden" / "store-index.run"
ROWS = [
    Listed(id=b"\x11" * 32, at=60, stored=10, raw=20, codec=2, kind=0, base=None, pack=1),
    Listed(id=b"\xff" * 32, at=130, stored=30, raw=40, codec=0, kind=1, base=None, pack=1),
    Listed(id=b"\x22" * 32, at=92, stored=7, raw=20, codec=7, kind=0, base=b"\x11" * 32, pack=3),
]


def test_run_is_written_as_ever(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "a.run", ROWS) == len(ROWS)
    assert (tmp_path / "a.run").read_bytes() == GOLDEN.read_bytes()


def test_golden_run_is_read() -> None:
    run, packs = Run(GOLDEN), np.array([False, True, False, True])
    assert run.problem() is None
    assert run.listed_all(np.arange(3)) == ROWS
    assert [run.find(row.id, int.from_bytes(row.id[:8]), packs) for row in ROWS] == ROWS
    assert run.find(ROWS[2].id, int.from_bytes(ROWS[2].id[:8]), np.zeros(4, dtype=np.bool_)) is None
    assert run.rows_of(1).tolist() == [0, 1]


def test_sections_lie_where_the_format_page_says() -> None:
    data = GOLDEN.read_bytes()
    length = int.from_bytes(data[8:12], "little")
    assert data[:8] == b"PTMINDX\n"
    assert data[12 : 12 + length] == (
        b'{"bits":0,"deltas":1,"format":"ptmtorrent/store-index","requires":[],"rows":3,"segments":2,"version":1}'
    )
    at = -(-(12 + length + 4) // 8) * 8
    assert data[at : at + 16].hex() == "01000000000000000300000002000000"
    assert data[at + 16 : at + 48] == b"\x11" * 32
    assert len(data) == at + 16 + 3 * 48 + 8 + 32 + 8 + 3 * 8 + 16 + 32
