from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.plan import (
    MERGE_GAP_BYTES,
    WHOLE_PACK_SHARE,
    Extent,
    PackObjects,
    Plan,
    merge,
    missing_rows,
    narrow,
    objects_in,
    plan_moves,
    plan_rows,
    resume_extents,
    widen,
)
from ptmtorrent.model.wanted import NO_BASE, Columns, Lacking, ObjectTable, WantedObject

PACK_BYTES = 16 << 20

extents = st.lists(
    st.builds(Extent, offset=st.integers(0, 4 << 20), length=st.integers(1, 300_000)), min_size=1, max_size=12
)


@st.composite
def wanted_objects(draw: st.DrawFn) -> list[WantedObject]:
    """Objects that lie one after another in up to three packs, with gaps."""
    wanted = []
    for pack in range(draw(st.integers(1, 3))):
        offset = 0
        for number in range(draw(st.integers(1, 8))):
            offset += draw(st.integers(0, 1 << 20))
            length = draw(st.integers(1, 1 << 20))
            at = Location(pack=PackId(f"{pack:064x}"), pack_size=PACK_BYTES, offset=offset, length=length, codec=0)
            wanted.append(WantedObject(id=ObjectId(f"{pack:032x}{number:032x}"), size=length, at=at))
            offset += length
    return wanted


@dataclass(frozen=True)
class Deltas:
    """Wanted `items`, some of them deltas, and where the bases of those lie; a base may be wanted itself."""

    items: tuple[WantedObject, ...]
    bases: dict[ObjectId, WantedObject]

    @property
    def deltas(self) -> dict[ObjectId, WantedObject]:
        return {item.id: item for item in self.items if item.base is not None}


@st.composite
def wanted_deltas(draw: st.DrawFn) -> Deltas:
    everything = draw(wanted_objects())
    plain = everything[: draw(st.integers(1, len(everything)))]
    deltas = [msgspec.structs.replace(item, base=draw(st.sampled_from(plain)).id) for item in everything[len(plain) :]]
    wanted = [item for item in plain if draw(st.booleans())]
    return Deltas(items=(*wanted, *deltas), bases={item.id: item for item in plain})


def covered(plan: Plan) -> list[ObjectId]:
    """The objects that arrive when every extent of the plan does, as often as they do."""
    return [item.id for request in plan.requests for extent in request.extents for item in objects_in(request, extent)]


def check_disjoint(found: Sequence[Extent]) -> None:
    assert list(found) == sorted(found)
    assert all(first.end <= second.offset for first, second in pairwise(found))


@given(extents)
def test_merged_extents_are_disjoint_and_cover_the_same_bytes(given_extents: list[Extent]) -> None:
    merged = merge(given_extents)
    check_disjoint(merged)
    assert all(any(one.offset <= each.offset and each.end <= one.end for one in merged) for each in given_extents)
    assert all(second.offset - first.end > MERGE_GAP_BYTES for first, second in pairwise(merged))


@given(extents)
def test_without_a_gap_no_other_byte_is_covered(given_extents: list[Extent]) -> None:
    merged = merge(given_extents, gap=0)
    edges = {place for each in given_extents for place in (each.offset, each.end)}
    assert {place for each in merged for place in (each.offset, each.end)} <= edges


@settings(max_examples=60)
@given(wanted_objects(), st.sets(st.integers(0, 30)), st.booleans())
def test_a_plan_names_every_missing_object_once_and_no_byte_twice(
    wanted: list[WantedObject], here: set[int], whole: bool
) -> None:
    have = {wanted[number].id for number in here if number < len(wanted)}
    plan = plan_moves([*wanted, *wanted], have.__contains__, whole_packs=whole)
    assert sorted(covered(plan)) == sorted({item.id for item in wanted} - have)
    for request in plan.requests:
        check_disjoint(request.extents)
        assert request.extents[-1].end <= request.size
        assert request.whole or not whole
    assert plan.bytes_to_move <= sum(request.size for request in plan.requests)


@settings(max_examples=100)
@given(wanted_deltas(), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.booleans())
def test_a_plan_brings_just_the_bases_that_are_needed_and_everything_can_be_decoded(
    given_deltas: Deltas, here: set[int], waiting: set[int], whole: bool
) -> None:
    everything = {item.id: item for item in (*given_deltas.items, *given_deltas.bases.values())}
    have = {identifier for number, identifier in enumerate(sorted(everything)) if number in here}
    parked = {identifier for number, identifier in enumerate(given_deltas.deltas) if number in waiting}

    plan = plan_moves(given_deltas.items, have.__contains__, bases=given_deltas.bases, parked=parked, whole_packs=whole)

    moved = covered(plan)
    assert len(moved) == len(set(moved))
    assert not set(moved) & (have | parked)
    after = have | set(moved)
    missing = [item for item in given_deltas.items if item.id not in have]
    assert all(item.id in after or item.id in parked for item in missing)
    needed = {item.base for item in missing if item.base is not None}
    assert needed <= after
    assert set(moved) <= {item.id for item in missing} | needed
    for request in plan.requests:
        check_disjoint(request.extents)


@settings(max_examples=60)
@given(wanted_deltas(), extents)
def test_packs_with_bases_come_first_also_when_resumed(given_deltas: Deltas, begun: list[Extent]) -> None:
    places = [extent for extent in begun if not any(splits(extent, item) for item in given_deltas.bases.values())]
    plan = plan_moves(given_deltas.items, lambda _: False, bases=given_deltas.bases)
    for made in (plan, resume_extents(plan, {request.pack: places for request in plan.requests})):
        needed = {item.base for item in given_deltas.deltas.values()}
        first = [any(item.id in needed for item in request.objects) for request in made.requests]
        assert first == sorted(first, reverse=True)


def test_a_base_is_moved_from_its_own_place_also_where_it_is_said_to_be_a_delta_itself() -> None:
    plain, delta = location(0, 1000), msgspec.structs.replace(location(5_000_000, 500), base=location(0, 1).id)
    twisted = msgspec.structs.replace(plain, at=location(9_000_000, 10).at, base=delta.id)
    plan = plan_moves([delta, twisted], lambda _: False, bases={plain.id: plain})
    assert sorted(item.at.offset for request in plan.requests for item in request.objects) == [0, 5_000_000]


@settings(max_examples=60)
@given(wanted_objects(), extents)
def test_a_resumed_plan_still_covers_every_object_and_no_byte_twice(
    wanted: list[WantedObject], begun: list[Extent]
) -> None:
    """Extents that were begun start and end between objects, as those of a plan do."""
    places = [extent for extent in begun if not any(splits(extent, item) for item in wanted)]
    plan = resume_extents(plan_moves(wanted, lambda _: False), {item.at.pack: places for item in wanted})
    assert sorted(covered(plan)) == sorted(item.id for item in wanted)
    for request in plan.requests:
        check_disjoint(request.extents)


def splits(extent: Extent, item: WantedObject) -> bool:
    start, end = item.at.offset, item.at.offset + item.at.length
    inside = extent.offset <= start and end <= extent.end
    outside = end <= extent.offset or extent.end <= start
    return not inside and not outside


def test_a_plan_resumed_from_itself_is_itself() -> None:
    wanted = [location(0, 1000), location(5_000_000, 1000)]
    plan = plan_moves(wanted, lambda _: False)
    assert resume_extents(plan, {plan.requests[0].pack: plan.requests[0].extents}) == plan


def test_a_pack_that_is_wanted_mostly_is_wanted_whole() -> None:
    enough = int(PACK_BYTES * WHOLE_PACK_SHARE) + 1
    [request] = plan_moves([location(0, enough)], lambda _: False).requests
    assert request.whole
    [request] = plan_moves([location(0, enough - 10)], lambda _: False).requests
    assert not request.whole
    assert widen(request).whole


def location(offset: int, length: int) -> WantedObject:
    at = Location(pack=PackId("a" * 64), pack_size=PACK_BYTES, offset=offset, length=length, codec=0)
    return WantedObject(id=ObjectId(f"{offset:064x}"), size=length, at=at)


def put(table: ObjectTable, columns: Columns, item: WantedObject) -> None:
    if item.at.pack not in table.packs:
        table.packs.append(item.at.pack)
        table.pack_sizes.append(item.at.pack_size)
    columns.ids += bytes.fromhex(item.id)
    columns.size.append(item.size)
    columns.pack.append(table.packs.index(item.at.pack))
    columns.offset.append(item.at.offset)
    columns.length.append(item.at.length)
    columns.codec.append(item.at.codec)


def table_of(given_deltas: Deltas) -> ObjectTable:
    table = ObjectTable()
    bases = list(given_deltas.bases)
    for base in given_deltas.bases.values():
        put(table, table.bases, base)
    for item in given_deltas.items:
        put(table, table.objects, item)
        table.base.append(NO_BASE if item.base is None else bases.index(item.base))
    return table


def all_rows(table: ObjectTable) -> Numbers:
    return np.arange(len(table), dtype="u4")


def spelled(plan: Plan) -> list[tuple[object, ...]]:
    return [
        (each.pack, each.size, each.extents, [(item.id, item.at) for item in each.objects]) for each in plan.requests
    ]


@settings(max_examples=150)
@given(wanted_deltas(), st.booleans())
def test_rows_and_values_give_one_plan(given_deltas: Deltas, whole: bool) -> None:
    table = table_of(given_deltas)
    rows = Lacking(table.objects, all_rows(table)).unique()
    base = np.frombuffer(table.base, "u4")[rows]

    plan = plan_rows(table, rows, np.unique(base[base != NO_BASE]), whole_packs=whole)

    expected = plan_moves(given_deltas.items, lambda _: False, bases=given_deltas.bases, whole_packs=whole)
    assert spelled(plan) == spelled(expected)
    assert [each.early for each in plan.requests] == [each.early for each in expected.requests]


def test_nothing_wanted_gives_an_empty_plan() -> None:
    table = ObjectTable()
    assert plan_rows(table, all_rows(table), all_rows(table)) == Plan(requests=())


@given(wanted_deltas(), st.integers(0, 4 << 20), st.integers(0, 4 << 20))
def test_the_objects_of_a_pack_are_found_as_among_values(given_deltas: Deltas, offset: int, length: int) -> None:
    table = table_of(given_deltas)
    extent = Extent(offset=offset, length=length)
    for request in plan_rows(table, all_rows(table), all_rows(table)[:0]).requests:
        as_values = msgspec.structs.replace(request, objects=tuple(request.objects))
        assert isinstance(request.objects, PackObjects)
        assert objects_in(request, extent) == objects_in(as_values, extent)
        assert narrow(request, [extent]) == narrow(as_values, [extent])
        assert list(request.objects) == request.objects[:] == [request.objects[n] for n in range(len(request.objects))]


def lacking_of(*identifiers: str) -> Lacking:
    table = ObjectTable()
    for number, identifier in enumerate(identifiers):
        put(table, table.objects, msgspec.structs.replace(location(number, 1), id=ObjectId(identifier)))
    return Lacking(table.objects, all_rows(table))


ALIKE = ("ab" * 8 + "0" * 48, "ab" * 8 + "1" * 48)
"""Two ids that begin with the same eight bytes."""


def test_an_object_is_lacked_in_every_row_until_it_is_taken() -> None:
    lacking = lacking_of("11" * 32, "22" * 32, "11" * 32)

    assert "11" * 32 in lacking
    assert "33" * 32 not in lacking
    assert sorted(lacking.take(ObjectId("11" * 32))) == [0, 2]
    assert "11" * 32 not in lacking
    assert lacking.unique().tolist() == [1]


def test_ids_that_begin_alike_are_told_apart() -> None:
    lacking = lacking_of(ALIKE[0], ALIKE[1], ALIKE[0], ALIKE[1])

    assert len(lacking.unique()) == 2
    assert sorted(lacking.take(ObjectId(ALIKE[1]))) == [1, 3]
    assert ALIKE[0] in lacking
    assert ALIKE[1] not in lacking


def missing(given_deltas: Deltas, here: set[str], parked: set[ObjectId], *, known: bool) -> tuple[set[str], set[str]]:
    table = table_of(given_deltas)
    has = here.__contains__ if known else None
    rows, bases = missing_rows(table, all_rows(table), has, parked)
    return {table.objects.id(row) for row in rows.tolist()}, {table.bases.id(row) for row in bases.tolist()}


@given(wanted_deltas(), st.data())
def test_what_is_missing_is_not_here_and_neither_parked(given_deltas: Deltas, data: st.DataObject) -> None:
    ids = sorted({item.id for item in given_deltas.items} | set(given_deltas.bases))
    some = st.sets(st.sampled_from(ids)) if ids else st.just(set[ObjectId]())
    here, parked = data.draw(some), data.draw(some)

    lacked = [item for item in given_deltas.items if item.id not in here]
    needed = {item.base for item in lacked if item.base is not None} - here
    assert missing(given_deltas, set(here), parked, known=True) == ({item.id for item in lacked} - parked, needed)


@given(wanted_deltas())
def test_without_a_store_everything_is_missing(given_deltas: Deltas) -> None:
    bases = {item.base for item in given_deltas.items if item.base is not None}
    assert missing(given_deltas, set(), set(), known=False) == ({item.id for item in given_deltas.items}, bases)


def test_an_object_that_is_discarded_is_lacked_no_more() -> None:
    lacking = lacking_of("11" * 32, "22" * 32)

    lacking.discard(ObjectId("11" * 32))
    lacking.discard(ObjectId("33" * 32))

    assert "11" * 32 not in lacking
    assert lacking.unique().tolist() == [1]
