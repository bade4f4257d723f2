"""Packs are padded to whole pieces, and the size of a file says how long its pieces are."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptmtorrent.model.pieces import ALIGNMENTS, alignment_of, is_whole, padded, pieces_in
from ptmtorrent.model.placement import MAX_PACK_BYTES

KIB, MIB = 1 << 10, 1 << 20
EDGES = [
    base + step
    for base in (
        16 * KIB,
        256 * KIB,
        4 * MIB - 16 * KIB,
        4 * MIB,
        64 * MIB - 256 * KIB,
        64 * MIB,
        MAX_PACK_BYTES - 4 * MIB,
    )
    for step in (-1, 0, 1)
]
LENGTHS = st.one_of(
    st.integers(1, 4 * MIB), st.integers(1, 64 * MIB), st.integers(1, MAX_PACK_BYTES), st.sampled_from(EDGES)
)


def grain_of(length: int) -> int:
    """The rule of docs/formats/pack.md for a length before padding."""
    if length < 4 * MIB:
        return 16 * KIB
    return 256 * KIB if length < 64 * MIB else 4 * MIB


@given(LENGTHS)
@example(4 * MIB - 1)
@example(4 * MIB)
@example(64 * MIB - 1)
@example(64 * MIB)
def test_a_pack_is_padded_to_the_next_multiple_that_its_length_asks_for(length: int) -> None:
    grain = grain_of(length)

    assert padded(length) == (length + grain - 1) // grain * grain


@given(LENGTHS)
def test_a_padded_pack_is_whole_pieces_of_its_own_size(length: int) -> None:
    size = padded(length)

    assert is_whole(size)
    assert pieces_in(size) * alignment_of(size) == size
    assert alignment_of(size) in ALIGNMENTS
    assert padded(size) == size


@given(
    st.one_of(st.integers(256 * KIB, MAX_PACK_BYTES), st.sampled_from([edge for edge in EDGES if edge >= 256 * KIB]))
)
def test_padding_is_at_most_a_sixteenth_from_256_kib_up(length: int) -> None:
    assert (padded(length) - length) * 16 <= padded(length)


@pytest.mark.parametrize(
    ("length", "size", "alignment"),
    [
        (1_000, 16 * KIB, 16 * KIB),
        (4 * MIB - 16 * KIB, 4 * MIB - 16 * KIB, 16 * KIB),
        (4 * MIB - 16 * KIB + 1, 4 * MIB, 256 * KIB),
        (4 * MIB - 1, 4 * MIB, 256 * KIB),
        (4 * MIB, 4 * MIB, 256 * KIB),
        (4 * MIB + 1, 4 * MIB + 256 * KIB, 256 * KIB),
        (64 * MIB - 256 * KIB + 1, 64 * MIB, 4 * MIB),
        (64 * MIB - 1, 64 * MIB, 4 * MIB),
        (64 * MIB, 64 * MIB, 4 * MIB),
        (64 * MIB + 1, 68 * MIB, 4 * MIB),
    ],
)
def test_the_table_of_the_format_page(length: int, size: int, alignment: int) -> None:
    assert (padded(length), alignment_of(size)) == (size, alignment)


@pytest.mark.parametrize("size", [0, 1, 16 * KIB - 1, 4 * MIB + 16 * KIB, 64 * MIB + 256 * KIB])
def test_a_size_that_is_not_whole_pieces_is_told(size: int) -> None:
    assert not is_whole(size)
