"""Owners of objects: whatever the order, in memory or on disk, they are as one dict would have them."""

import random

import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.maintenance.references import NONE, SHARED, References
from ptmtorrent.store.pack.columns import ids_of

NAMES = [ObjectId(f"{number:02x}" * 32) for number in range(40)]
ALIKE = [ObjectId("ab" * 8 + f"{number:02x}" * 24) for number in range(20)]
"""Ids that begin with the same 8 bytes."""


@pytest.mark.parametrize("cache", [1, 400, 4_000, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_any_history_says_what_one_dict_would(cache: int, seed: int) -> None:
    rng, known = random.Random(seed), dict[ObjectId, int]()
    names = [*NAMES, *ALIKE]
    with References(cache) as table:
        for _ in range(30):
            owner = rng.randrange(3)
            added = rng.choices(names, k=rng.randrange(12))
            table.add(owner, iter(added))
            for name in added:
                known[name] = owner if known.get(name, owner) == owner else SHARED
            if rng.random() < 0.5:
                asked = rng.choices(names, k=rng.randrange(10))
                assert table.owners(ids_of(asked)).tolist() == [known.get(name, NONE) for name in asked]
                assert [table.owner(name) for name in asked] == [known.get(name) for name in asked]
                assert table.has_all(asked) == (not set(asked) - known.keys())


def test_an_object_that_two_packages_need_is_shared_on_disk_too() -> None:
    with References(cache=1) as table:
        table.add(0, NAMES)
        table.add(1, NAMES[:1])
        table.add(0, NAMES)
        assert table.owners(ids_of(NAMES[:2])).tolist() == [SHARED, 0]
