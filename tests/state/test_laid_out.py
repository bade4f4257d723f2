import os
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.state.laid_out import Ledger

HASH = "a" * 64


def lay_out(path: Path, ledger: Ledger, data: bytes = b"data") -> None:
    path.write_bytes(data)
    ledger.record(path, blake3=HASH, package="hf:org/name", snapshot="s")


def test_a_file_that_was_laid_out_is_held_in_the_next_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        lay_out(tmp_path / "file", ledger)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.holds(tmp_path / "file", 4, HASH)
        assert [row.path for row in ledger.files()] == [tmp_path / "file"]


def test_a_file_that_changed_is_not_held(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        lay_out(tmp_path / "touched", ledger)
        os.utime(tmp_path / "touched", ns=(1, 1))
        lay_out(tmp_path / "gone", ledger)
        (tmp_path / "gone").unlink()
        lay_out(tmp_path / "linked", ledger)
        (tmp_path / "linked").rename(tmp_path / "moved")
        (tmp_path / "linked").symlink_to(tmp_path / "moved")
        assert [ledger.holds(tmp_path / name, 4, HASH) for name in ("touched", "gone", "linked")] == [False] * 3


def test_a_file_is_known_until_another_program_changes_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        lay_out(tmp_path / "file", ledger)
        assert ledger.knows(tmp_path / "file")
        (tmp_path / "file").write_bytes(b"other")
        assert not ledger.knows(tmp_path / "file")
        assert not ledger.knows(tmp_path / "never")


def test_other_bytes_are_not_held(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        lay_out(tmp_path / "file", ledger)
        assert not ledger.holds(tmp_path / "file", 4, "b" * 64)
        assert not ledger.holds(tmp_path / "file", 5, HASH)


def test_names_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        lay_out(tmp_path / os.fsdecode(b"n\xff"), ledger)
        assert [os.fsencode(row.path.name) for row in ledger.files()] == [b"n\xff"]


def test_a_damaged_ledger_says_that_it_may_be_removed(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="could not be used") as caught:
        Ledger(tmp_path / "ledger.sqlite")
    assert "remove" in str(caught.value.hint)
