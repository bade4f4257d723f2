from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.plan import (
    MERGE_GAP_BYTES,
    PIECE_BYTES,
    WHOLE_PACK_SHARE,
    Extent,
    WantedObject,
    merge,
    objects_in,
    plan_moves,
)
from tests.model.generated import hex64

extents = st.builds(Extent, offset=st.integers(0, 1000), length=st.integers(0, 100))


@st.composite
def wanted_objects(draw: st.DrawFn) -> list[WantedObject]:
    """Objects as packs hold them: disjoint, several packs, some of them wanted twice."""
    wanted: list[WantedObject] = []
    for pack in range(draw(st.integers(0, 3))):
        offset = 60
        size = draw(st.integers(1, 3)) * PIECE_BYTES
        while offset < size and draw(st.integers(0, 5)):
            length = draw(st.integers(0, min(1 << 20, size - offset)))
            place = Location(pack=PackId(hex64(f"p{pack}")), pack_size=size, offset=offset, length=length, codec=0)
            wanted.append(WantedObject(id=ObjectId(hex64(f"{pack}.{offset}.{length}")), size=length, at=place))
            offset += length + draw(st.sampled_from([56, 1000, MERGE_GAP_BYTES - 1, MERGE_GAP_BYTES + 1, 1 << 20]))
    return wanted + wanted[: draw(st.integers(0, 2))]


def lack(here: set[ObjectId]) -> Callable[[ObjectId], bool]:
    return lambda identifier: identifier in here


@settings(max_examples=100)
@given(wanted_objects(), st.data())
def test_a_plan_names_every_missing_object_once_inside_one_extent(
    wanted: list[WantedObject], data: st.DataObject
) -> None:
    here = data.draw(st.sets(st.sampled_from([item.id for item in wanted]))) if wanted else set()

    plan = plan_moves(wanted, lack(here))

    named = [item.id for request in plan.requests for extent in request.extents for item in objects_in(request, extent)]
    assert sorted(named) == sorted({item.id for item in wanted} - here)


@settings(max_examples=100)
@given(wanted_objects(), st.booleans())
def test_a_plan_moves_no_byte_of_a_pack_twice_and_none_outside_it(wanted: list[WantedObject], whole: bool) -> None:
    plan = plan_moves(wanted, lack(set()), whole_packs=whole)

    assert len({request.pack for request in plan.requests}) == len(plan.requests)
    for request in plan.requests:
        ends = [0, *(extent.end for extent in request.extents)]
        assert all(end <= extent.offset for end, extent in zip(ends, request.extents, strict=False))
        assert ends[-1] <= request.size
    assert plan.bytes_to_move == sum(extent.length for request in plan.requests for extent in request.extents)


@settings(max_examples=50)
@given(wanted_objects())
def test_a_swarm_is_asked_for_whole_packs_only(wanted: list[WantedObject]) -> None:
    plan = plan_moves(wanted, lack(set()), whole_packs=True)

    assert all(request.whole for request in plan.requests)


@settings(max_examples=50)
@given(wanted_objects())
def test_a_plan_does_not_depend_on_the_order_of_wishes(wanted: list[WantedObject]) -> None:
    assert plan_moves(wanted, lack(set())) == plan_moves(reversed(wanted), lack(set()))


@settings(max_examples=50)
@given(wanted_objects())
def test_largest_packs_come_first(wanted: list[WantedObject]) -> None:
    sizes = [request.bytes for request in plan_moves(wanted, lack(set())).requests]

    assert sizes == sorted(sizes, reverse=True)


@given(wanted_objects())
def test_what_is_here_is_not_moved(wanted: list[WantedObject]) -> None:
    assert plan_moves(wanted, lambda _: True).bytes_to_move == 0


def test_most_of_a_pack_is_asked_for_as_the_whole() -> None:
    length = int(WHOLE_PACK_SHARE * PIECE_BYTES) + 1
    place = Location(pack=PackId(hex64("p")), pack_size=PIECE_BYTES, offset=100, length=length, codec=0)

    plan = plan_moves([WantedObject(id=ObjectId(hex64("o")), size=length, at=place)], lack(set()))

    assert plan.requests[0].whole


@given(st.lists(extents, max_size=8), st.integers(0, 50))
def test_merged_extents_are_sorted_apart_and_cover_what_was_given(given_extents: list[Extent], gap: int) -> None:
    merged = merge(given_extents, gap)

    assert all(before.end + gap < after.offset for before, after in pairwise(merged))
    assert all(any(big.offset <= small.offset and small.end <= big.end for big in merged) for small in given_extents)


@given(st.lists(extents, max_size=8))
def test_without_a_gap_merging_adds_no_byte(given_extents: list[Extent]) -> None:
    covered = {byte for extent in given_extents for byte in range(extent.offset, extent.end)}

    assert sum(extent.length for extent in merge(given_extents, 0)) == len(covered)
