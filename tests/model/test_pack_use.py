"""The uses of packs in columns count what a dictionary of places counts."""

import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.pack_use import PackUse, UseRows, decode_use
from tests.model.generated import hex64

TALLIES = 3
PACKS = tuple(PackId(hex64(name)) for name in ("one", "two"))
SIZES = dict(zip(PACKS, (4 << 20, 8 << 20), strict=True))

Use = tuple[PackId, int, int]
"""A pack, an offset, and the tallies that count the use, as bits."""

uses = st.lists(st.tuples(st.sampled_from(PACKS), st.integers(0, 5), st.integers(0, (1 << TALLIES) - 1)), max_size=12)


def length_of(offset: int) -> int:
    return 100 + offset


def rows_of(found: list[Use], sign: int = 1, *, into: UseRows | None = None) -> UseRows:
    rows = UseRows(TALLIES) if into is None else into
    for pack, offset, bits in found:
        rows.add(rows.number(pack, SIZES[pack]), offset, length_of(offset), bits, sign)
    return rows


def counted(found: list[Use]) -> dict[tuple[PackId, int], tuple[int, ...]]:
    """Count places as a reader of docs/formats would: for each how often every tally uses it."""
    counts = Counter((pack, offset, tally) for pack, offset, bits in found for tally in range(3) if bits >> tally & 1)
    return {
        (pack, offset): tuple(counts[pack, offset, tally] for tally in range(TALLIES)) for pack, offset, _ in counts
    }


def spelled(summed: dict[PackId, PackUse]) -> dict[tuple[PackId, int], tuple[int, ...]]:
    for pack, use in summed.items():
        assert use.size == SIZES[pack]
        assert use.lengths.tolist() == [length_of(offset) for offset in use.offsets.tolist()]
    return {
        (pack, offset): tuple(use.counts[:, row].tolist())
        for pack, use in summed.items()
        for row, offset in enumerate(use.offsets.tolist())
    }


@given(uses)
def test_sums_are_what_a_count_by_place_gives(found: list[Use]) -> None:
    rows = rows_of(found)

    summed = dict(rows.sum({}))

    assert rows.packs() == list(summed) == sorted({pack for pack, _, _ in found})
    assert spelled(summed) == counted(found)


@given(uses, uses, st.data())
def test_uses_are_summed_on_top_of_earlier_ones_and_taken_away(
    before: list[Use], more: list[Use], data: st.DataObject
) -> None:
    earlier = dict(rows_of(before).sum({}))
    kept = [data.draw(st.booleans()) for _ in before]
    left = [use for use, stays in zip(before, kept, strict=True) if stays]
    gone = [use for use, stays in zip(before, kept, strict=True) if not stays]

    changed = dict(rows_of(gone, -1, into=rows_of(more)).sum(earlier))

    assert spelled({**earlier, **changed}) == counted([*left, *more])


@given(uses)
def test_columns_come_back_from_their_bytes(found: list[Use]) -> None:
    summed = dict(rows_of(found).sum({}))

    read = {pack: decode_use(use.encode()) for pack, use in summed.items()}

    assert spelled(read) == spelled(summed)
    for pack, use in read.items():
        places = {(offset, bits) for each, offset, bits in found if each == pack}
        for tally in range(TALLIES):
            stored = {offset for offset, bits in places if bits >> tally & 1}
            assert use.stored(tally) == sum(map(length_of, stored))
            assert bool(use.used >> tally & 1) == bool(stored)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<3I", 1, 0, 0) + b"x",
        struct.pack("<3I", 1, 1, 1),
        struct.pack("<3I", 1, 2**32 - 1, 2**32 - 1),
        dict(rows_of([(PACKS[0], 1, 1)]).sum({}))[PACKS[0]].encode()[:-4],
    ],
)
def test_columns_of_another_length_than_they_say_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="another length than they say"):
        decode_use(data)
