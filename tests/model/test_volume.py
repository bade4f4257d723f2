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
from ptmtorrent.model.volume import LEVEL_WIDTH, MAX_VOLUME_BYTES, PackHashes, Previous, VolumePlan, plan_volumes

GIB = 1 << 30


def pack(number: int, *, size: int = GIB, rights: Rights = "open") -> PackHashes:
    identifier = PackId(blake3(str(number).encode()).hexdigest())
    return PackHashes(pack=identifier, size=size, rights=rights, pieces_v1=b"", root_v2=b"", layer_v2=b"")


def as_previous(plans: tuple[VolumePlan, ...]) -> list[Previous]:
    return [(plan.rights, plan.level, frozenset(pack.pack for pack in plan.packs)) for plan in plans]


PACKS = st.lists(
    st.builds(
        pack,
        st.integers(0, 60),
        size=st.sampled_from([4 << 20, GIB, MAX_VOLUME_BYTES // 3]),
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


def test_more_than_a_tebibyte_is_more_than_one_volume() -> None:
    packs = [pack(number) for number in range(3000)]

    plans = plan_volumes(packs, [])

    assert sorted(len(plan.packs) for plan in plans) == [952, 1024, 1024]


def test_no_packs_are_no_volumes() -> None:
    assert plan_volumes([], []) == ()


@pytest.mark.parametrize("number", range(3))
def test_a_pack_lies_below_its_first_two_digits(number: int) -> None:
    identifier = pack(number).pack

    assert pack_path(identifier) == f"packs/{identifier[:2]}/{identifier}.pack"
