"""The planner takes the cheapest forms, given what is here."""

from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.model.forms import choose_forms
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.placement import Location
from ptmtorrent.model.wanted import NO_BASE, Alternative, ObjectTable, WantedObject
from tests.model.generated import hex64
from tests.model.test_plan import put

BASES = 3


def item_of(name: str, length: int) -> WantedObject:
    at = Location(pack=PackId(hex64("pack")), pack_size=1 << 20, offset=len(name), length=length, codec=0)
    return WantedObject(id=ObjectId(hex64(name)), size=1 << 20, at=at)


def table_of(bases: list[int], objects: list[list[tuple[int, int]]]) -> ObjectTable:
    """Bases by stored length, and objects by their forms, each a stored length and the row of its base."""
    table = ObjectTable()
    for number, length in enumerate(bases):
        put(table, table.bases, item_of(f"base {number}", length))
    for number, forms in enumerate(objects):
        put(table, table.objects, item_of(f"object {number}", forms[0][0]))
        table.base.append(forms[0][1])
        for length, base in forms[1:]:
            other = Alternative(row=number, pack=0, offset=1, length=length, codec=0, base=base)
            table.alternatives.append(other)
    return table


def cost_of(table: ObjectTable, has: set[str]) -> int:
    bases = {base for base in table.base if base != NO_BASE and table.bases.id(base) not in has}
    return sum(table.objects.length) + sum(table.bases.length[base] for base in bases)


def cheapest(bases: list[int], objects: list[list[tuple[int, int]]], here: set[int]) -> int:
    """Try every set of bases that may be brought."""
    costs = []
    for brought in chain.from_iterable(combinations(range(len(bases)), count) for count in range(len(bases) + 1)):
        usable = {*brought, *here, NO_BASE}
        lengths = [[length for length, base in forms if base in usable] for forms in objects]
        if all(lengths):
            costs.append(sum(map(min, lengths)) + sum(bases[base] for base in brought if base not in here))
    return min(costs)


@st.composite
def whole_or_delta(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Forms of an object: a delta, mostly, and mostly a whole form beside."""
    delta = (draw(st.integers(0, 60)), draw(st.integers(0, BASES - 1)))
    whole = (draw(st.integers(0, 100)), NO_BASE)
    return draw(st.sampled_from(([delta, whole], [whole, delta], [delta], [whole])))


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 120), min_size=BASES, max_size=BASES),
    st.lists(whole_or_delta(), max_size=8),
    st.sets(st.integers(0, BASES - 1)),
)
def test_no_other_choice_of_forms_moves_less(
    bases: list[int], objects: list[list[tuple[int, int]]], here: set[int]
) -> None:
    table = table_of(bases, objects)
    has = {table.bases.id(base) for base in here}

    choose_forms(table, np.arange(len(table), dtype="u4"), has.__contains__)

    assert cost_of(table, has) == cheapest(bases, objects, here)


def test_a_base_that_is_wanted_itself_costs_nothing_more() -> None:
    table = table_of([90], [[(10, 0), (80, NO_BASE)]])
    put(table, table.objects, item_of("base 0", 90))
    table.base.append(NO_BASE)

    choose_forms(table, np.arange(2, dtype="u4"), lambda _: False)

    assert list(table.base) == [0, NO_BASE]


def test_an_object_with_two_deltas_takes_the_base_that_is_here() -> None:
    table = table_of([50, 50], [[(10, 0), (20, 1), (80, NO_BASE)]])

    choose_forms(table, np.arange(1, dtype="u4"), lambda base: base == hex64("base 1"))

    assert (table.objects.length[0], table.base[0]) == (20, 1)


def test_objects_that_are_not_lacked_bring_no_base() -> None:
    forms = [(10, 0), (40, NO_BASE)]
    table = table_of([50], [forms, forms])

    choose_forms(table, np.array([1], "u4"), lambda _: False)

    assert list(table.base) == [0, NO_BASE]


@pytest.mark.parametrize(("bases", "chosen"), [([90, 70], 1), ([50, 70], 0), ([70, 61], 0)])
def test_an_object_of_deltas_alone_brings_the_base_that_costs_least(bases: list[int], chosen: int) -> None:
    table = table_of(bases, [[(10, 0), (20, 1)]])

    choose_forms(table, np.arange(1, dtype="u4"), lambda _: False)

    assert list(table.base) == [chosen]


def test_a_base_that_an_object_of_deltas_alone_brings_serves_others_too() -> None:
    table = table_of([50, 90], [[(10, 0), (20, 1)], [(30, 0), (60, NO_BASE)]])

    choose_forms(table, np.arange(2, dtype="u4"), lambda _: False)

    assert (list(table.base), list(table.objects.length)) == ([0, 0], [10, 30])
