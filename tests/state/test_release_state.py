from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import PackId
from ptmtorrent.state.release_state import FileState, PackState, ReleaseState, state_of

ONE, TWO, THREE = (PackId(digit * 64) for digit in "123")


def pack(number: int, use: bytes | None = b"use") -> PackState:
    return PackState(FileState(number, -number, (1 << 64) - number), number, use)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    with ReleaseState(tmp_path / "state.sqlite") as state:
        state.write({"facts": b"1"}, {ONE: pack(1), TWO: pack(2, None)}, others=())
    with ReleaseState(tmp_path / "state.sqlite") as state:
        assert state.facts() == {"facts": b"1"}
        assert state.packs() == {ONE: pack(1, None), TWO: pack(2, None)}
        assert [state.use_of(each) for each in (ONE, TWO, THREE)] == [b"use", None, None]


def test_packs_that_are_neither_written_nor_kept_are_forgotten(tmp_path: Path) -> None:
    with ReleaseState(tmp_path / "state.sqlite") as state:
        state.write({"facts": b"1"}, {ONE: pack(1), TWO: pack(2)}, others=())
        state.write({"facts": b"2"}, {THREE: pack(3)}, others=[TWO])
        assert (state.facts(), sorted(state.packs())) == ({"facts": b"2"}, [TWO, THREE])
        state.forget()
        assert (state.facts(), state.packs()) == ({}, {})


def test_a_damaged_state_says_that_it_may_be_removed(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError) as caught:
        ReleaseState(tmp_path / "state.sqlite")
    assert "remove" in (caught.value.hint or "")


def test_a_file_that_is_not_there_has_no_state(tmp_path: Path) -> None:
    assert state_of(tmp_path / "none") is None
    (tmp_path / "file").write_bytes(b"12")
    found = state_of(tmp_path / "file")
    assert found is not None
    assert found.size == 2
