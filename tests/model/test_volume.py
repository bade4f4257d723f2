import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.volume import (
    LEVEL_WIDTH,
    MAX_VOLUME_BYTES,
    MAX_VOLUME_PACKS,
    PackHashes,
    Previous,
    VolumePlan,
    plan_volumes,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = {16 * KIB: [16 * KIB, 4 * MIB - 16 * KIB], 256 * KIB: [4 * MIB, 63 * MIB], 4 * MIB: [64 * MIB, GIB]}
"""Sizes of packs of each alignment."""


def pack(number: int, *, size: int = GIB, rights: Rights = "open") -> PackHashes:
    identifier = PackId(blake3(str(number).encode()).hexdigest())
    return PackHashes(pack=identifier, size=size, rights=rights, pieces_v1=b"", root_v2=b"", layer_v2=b"")


def as_previous(plans: tuple[VolumePlan, ...]) -> list[Previous]:
    return [(plan.rights, plan.level, frozenset(pack.pack for pack in plan.packs)) for plan in plans]


PACKS = st.lists(
    st.builds(
        pack,
        st.integers(0, 60),
        size=st.sampled_from([size for sizes in SIZES.values() for size in sizes] + [MAX_VOLUME_BYTES // 3]),
        rights=st.sampled_from(["open", "gated"]),
    ),
    max_size=40,
    unique_by=lambda item: item.pack,
)


@settings(max_examples=60)
@given(st.lists(PACKS, min_size=1, max_size=5))
def test_every_pack_is_in_exactly_one_volume_of_its_rights(releases: list[list[PackHashes]]) -> None:
    previous: list[Previous] = []
    for packs in releases:
        plans = plan_volumes(packs, previous)

        assert Counter(member.pack for plan in plans for member in plan.packs) == Counter(item.pack for item in packs)
        assert all(member.rights == plan.rights for plan in plans for member in plan.packs)
        assert all(plan.bytes <= MAX_VOLUME_BYTES and plan.packs for plan in plans)
        assert all(
            member.size in SIZES[plan.alignment] for plan in plans for member in plan.packs if member.size <= GIB
        )
        assert all(before.pack < after.pack for plan in plans for before, after in pairwise(plan.packs))
        previous = as_previous(plans)


@settings(max_examples=40)
@given(PACKS, PACKS, st.randoms())
def test_the_order_of_what_is_given_does_not_matter(
    old: list[PackHashes],
    new: list[PackHashes],
    shuffler: random.Random,
) -> None:
    previous = as_previous(plan_volumes(old, []))
    shuffled_previous, shuffled_new = previous.copy(), new.copy()
    shuffler.shuffle(shuffled_previous)
    shuffler.shuffle(shuffled_new)

    assert plan_volumes(new, previous) == plan_volumes(shuffled_new, shuffled_previous)


@settings(max_examples=40)
@given(PACKS)
def test_the_same_packs_again_change_no_volume(packs: list[PackHashes]) -> None:
    plans = plan_volumes(packs, [])

    assert plan_volumes(packs, as_previous(plans)) == plans


@settings(max_examples=40)
@given(st.lists(PACKS, min_size=2, max_size=4))
def test_a_volume_whose_packs_are_all_there_stays_or_merges_whole(releases: list[list[PackHashes]]) -> None:
    known: dict[PackId, PackHashes] = {}
    previous: list[Previous] = []
    for packs in releases:
        for item in packs:
            known.setdefault(item.pack, item)
        plans = plan_volumes(known.values(), previous)
        now = as_previous(plans)
        for rights, _, members in previous:
            assert any(other[0] == rights and members <= other[2] for other in now)
        previous = now


def test_a_release_adds_one_volume_and_leaves_the_others_alone() -> None:
    first = plan_volumes([pack(1), pack(2)], [])

    second = plan_volumes([pack(1), pack(2), pack(3)], as_previous(first))

    assert first[0] in second
    assert [plan.level for plan in second] == [0, 0]


def test_the_number_of_volumes_grows_with_the_logarithm_of_releases() -> None:
    known: list[PackHashes] = []
    plans: tuple[VolumePlan, ...] = ()
    for number in range(600):
        known.append(pack(number, size=4 << 20))
        plans = plan_volumes(known, as_previous(plans))
        levels = math.floor(math.log(number + 1, LEVEL_WIDTH)) + 1
        assert len(plans) <= (LEVEL_WIDTH - 1) * levels


def test_the_eighth_volume_of_a_level_merges_them() -> None:
    plans: tuple[VolumePlan, ...] = ()
    for number in range(LEVEL_WIDTH):
        plans = plan_volumes([pack(known) for known in range(number + 1)], as_previous(plans))

    assert [(plan.level, len(plan.packs)) for plan in plans] == [(1, LEVEL_WIDTH)]


def test_a_volume_that_lost_a_pack_is_dissolved() -> None:
    first = plan_volumes([pack(1), pack(2), pack(3)], [])
    both = plan_volumes([pack(number) for number in (1, 2, 3, 4)], as_previous(first))

    without = plan_volumes([pack(number) for number in (1, 2, 4)], as_previous(both))

    assert sorted(tuple(sorted(member.pack for member in plan.packs)) for plan in without) == sorted(
        [tuple(sorted([pack(1).pack, pack(2).pack])), (pack(4).pack,)]
    )


def test_a_pack_that_changed_rights_leaves_its_volume() -> None:
    first = plan_volumes([pack(1), pack(2)], [])

    second = plan_volumes([pack(1), pack(2, rights="gated")], as_previous(first))

    assert [(plan.rights, plan.packs) for plan in second] == [
        ("gated", (pack(2, rights="gated"),)),
        ("open", (pack(1),)),
    ]


@pytest.mark.parametrize(
    ("size", "count", "most"),
    [
        (GIB, 200, 64),  # 64 GiB
        (63 * MIB, 1100, 64 * GIB // (63 * MIB)),
        (4 * MIB - 16 * KIB, 1100, (1 << 18) // 255),  # pieces
        (16 * KIB, MAX_VOLUME_PACKS + 1, MAX_VOLUME_PACKS),
    ],
)
def test_more_than_a_limit_is_more_than_one_volume(size: int, count: int, most: int) -> None:
    packs = [pack(number, size=size) for number in range(count)]

    plans = plan_volumes(packs, [])

    assert sorted(len(plan.packs) for plan in plans) == [count % most, *[most] * (count // most)]


def test_volumes_that_would_have_too_many_packs_are_not_merged() -> None:
    packs = [pack(number, size=16 * KIB) for number in range(LEVEL_WIDTH * (MAX_VOLUME_PACKS // LEVEL_WIDTH + 1))]
    each = len(packs) // LEVEL_WIDTH
    parts = [frozenset(item.pack for item in packs[at : at + each]) for at in range(0, len(packs), each)]

    plans = plan_volumes(packs, [("open", 0, part) for part in parts])

    assert {frozenset(item.pack for item in plan.packs) for plan in plans} == set(parts)


def test_packs_of_two_alignments_never_share_a_volume() -> None:
    sizes = [16 * KIB, 4 * MIB - 16 * KIB, 4 * MIB, 64 * MIB - 256 * KIB, 64 * MIB, GIB]

    plans = plan_volumes([pack(number, size=size) for number, size in enumerate(sizes)], [])

    assert {plan.alignment: sorted(item.size for item in plan.packs) for plan in plans} == {
        16 * KIB: sizes[:2],
        256 * KIB: sizes[2:4],
        4 * MIB: sizes[4:],
    }


def test_a_volume_of_two_alignments_is_dissolved() -> None:
    packs = [pack(1, size=16 * KIB), pack(2, size=4 * MIB)]

    plans = plan_volumes(packs, [("open", 3, frozenset(item.pack for item in packs))])

    assert sorted((plan.level, len(plan.packs)) for plan in plans) == [(0, 1), (0, 1)]


def test_no_packs_are_no_volumes() -> None:
    assert plan_volumes([], []) == ()


@pytest.mark.parametrize("number", range(3))
def test_a_pack_lies_below_its_first_two_digits(number: int) -> None:
    identifier = pack(number).pack

    assert pack_path(identifier) == f"packs/{identifier[:2]}/{identifier}.pack"
