"""Which stretches are joined, which are sliced, and which stay separate."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.store.cutters import NotThisFormat, Piece
from ptmtorrent.store.cutters.port import cover
from tests.store.cutters.samples import covers

KIB, MIB = 1 << 10, 1 << 20


def lengths(*stretches: tuple[int, int], end: int) -> list[int]:
    return [piece.length for piece in cover([Piece(offset, length) for offset, length in stretches], 0, end)]


def test_a_gap_joins_small_neighbours_and_no_large_one() -> None:
    assert lengths((100, 64 * KIB), end=64 * KIB + 200) == [100, 64 * KIB, 100]
    assert lengths((100, 50), (200, 50), end=300) == [300]


def test_a_gap_between_two_large_stretches_is_a_piece() -> None:
    assert lengths((0, 70 * KIB), (70 * KIB + 64, 70 * KIB), end=140 * KIB + 64) == [70 * KIB, 64, 70 * KIB]


def test_a_long_gap_is_sliced() -> None:
    assert lengths((0, 10), end=33 * MIB + 10) == [10, 16 * MIB, 16 * MIB, MIB]


def test_a_run_with_a_gap_has_neither_dtype_nor_key() -> None:
    (piece,) = cover([Piece(0, 8, "F32", "a"), Piece(16, 8, "F32", "b")], 0, 24)
    assert (piece.dtype, piece.key) == (None, None)


def test_a_run_of_one_dtype_keeps_it_and_has_a_key_of_its_members() -> None:
    def run(*keys: str) -> Piece:
        (piece,) = cover([Piece(8 * row, 8, "F32", key) for row, key in enumerate(keys)], 0, 16)
        return piece

    assert run("a", "b").dtype == "F32"
    assert run("a", "b").key == run("a", "b").key != run("b", "a").key


@pytest.mark.parametrize("stretches", [[(0, 10), (5, 10)], [(0, 101)], [(50, 60)], [(20, 5), (10, 5)], [(0, 1 << 62)]])
def test_what_overlaps_or_leaves_the_range_is_refused(stretches: list[tuple[int, int]]) -> None:
    with pytest.raises(NotThisFormat):
        lengths(*stretches, end=100)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 200 * KIB), st.integers(0, 20 * MIB)), max_size=30), st.integers(0, 40 * MIB))
def test_pieces_cover_the_range_and_are_few(steps: list[tuple[int, int]], rest: int) -> None:
    stretches, at = [], 0
    for gap, length in steps:
        stretches.append(Piece(at + gap, length))
        at += gap + length
    assert covers(tuple(cover(stretches, 0, at + rest)), at + rest)
