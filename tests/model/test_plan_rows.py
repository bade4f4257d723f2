"""The planner over columns makes the plans that the planner of values makes."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.model.canonical import Numbers
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.plan import Extent, Plan, WantedObject, narrow, objects_in, plan_moves
from ptmtorrent.model.plan_rows import PackObjects, missing_rows, plan_rows
from ptmtorrent.model.wanted import NO_BASE, Columns, Lacking, ObjectTable
from tests.model.test_plan import Deltas, location, wanted_deltas


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
