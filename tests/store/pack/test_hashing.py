import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.stop import Stop
from ptmtorrent.store.pack import hashes as pack_hashes
from ptmtorrent.store.pack.hashes import BLOCK_BYTES, SMALL_BYTES, PackHasher
from tests.simulators.packs import hash_pack as hash_by_definition
from tests.store.samples import random_bytes

KIB, MIB = 1 << 10, 1 << 20
DATA = random_bytes(12 * MIB)


@pytest.mark.parametrize(
    "size",
    [
        *(16 * KIB, 32 * KIB, 48 * KIB, 256 * KIB, 4 * MIB - 16 * KIB),
        *(4 * MIB, 4 * MIB + 256 * KIB, 8 * MIB, 12 * MIB, 64 * MIB - 256 * KIB),
        *(64 * MIB, 68 * MIB, 80 * MIB),
    ],
)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_one_pass_gives_the_hashes_that_each_grain_gives_alone(size: int, threads: int) -> None:
    data = random_bytes(size)
    with ThreadPoolExecutor(threads or 1) as pool:
        hasher = PackHasher(pool if threads else None)
        for at in range(0, size, 3 * MIB + 5):
            hasher.update(data[at : at + 3 * MIB + 5])
        hashes = hasher.finish("gated")

    assert hashes == hash_by_definition(data, "gated")


def test_a_single_piece_has_the_hash_of_its_bytes_as_root_and_no_layer() -> None:
    hasher = PackHasher()
    hasher.update(DATA[: 16 * KIB])
    hashes = hasher.finish("gated")
    assert hashes.pack == blake3(DATA[: 16 * KIB]).hexdigest()
    assert hashes.root_v2 == hashlib.sha256(DATA[: 16 * KIB]).digest()
    assert hashes.layer_v2 == b""
    assert hashes.rights == "gated"


def test_a_grain_is_dropped_once_no_pack_can_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self._digest = hashlib.sha1(usedforsecurity=False)

        def update(self, data: memoryview) -> None:
            hashed.append(len(data))
            self._digest.update(data)

        def digest(self) -> bytes:
            return self._digest.digest()

    monkeypatch.setattr(pack_hashes, "sha1", Counting)
    for size, expected in (
        (4 * MIB - 16 * KIB, 4 * MIB - 16 * KIB),  # by 16 KiB alone
        (6 * MIB, 2 * 4 * MIB + 2 * MIB),  # a full block by 256 KiB and 4 MiB, the rest by 256 KiB
        (80 * MIB, 2 * 60 * MIB + 20 * MIB),  # from 64 MiB on by 4 MiB alone
    ):
        hashed.clear()
        hasher = PackHasher()
        hasher.update(bytes(size))
        hasher.finish("open")
        assert sum(hashed) == expected


@pytest.mark.parametrize("size", [0, 1, 16 * KIB + 1, 4 * MIB + 16 * KIB, 64 * MIB + 256 * KIB])
def test_what_is_not_padded_to_whole_pieces_has_no_hashes(size: int) -> None:
    hasher = PackHasher()
    hasher.update(bytes(size))
    with pytest.raises(AssertionError, match="padded"):
        hasher.finish("open")


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 8 * MIB), max_size=12))
def test_how_the_bytes_arrive_makes_no_difference(cuts: list[int]) -> None:
    data = DATA[: 8 * MIB]
    at_once, in_parts = PackHasher(), PackHasher()
    at_once.update(data)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        in_parts.update(data[start:end])
    assert in_parts.finish("open") == at_once.finish("open")


def test_tiny_stretches_add_up() -> None:
    data = DATA[: 4 * MIB]
    hasher = PackHasher()
    for at in range(0, 40_000, 7):
        hasher.update(data[at : at + 7])
    hasher.update(data[hasher.size :])
    expected = PackHasher()
    expected.update(data)
    assert hasher.finish("open") == expected.finish("open")


def test_a_pool_whose_threads_are_all_taken_holds_no_hash_up() -> None:
    data = DATA * 2
    free = Stop()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(free.wait)
        hasher = PackHasher(pool)
        hasher.update(data)
        hashes = hasher.finish("open")
        free.set()
    alone = PackHasher()
    alone.update(data)
    assert hashes == alone.finish("open")


def test_block_is_held_only_until_it_is_hashed() -> None:
    with ThreadPoolExecutor(1) as pool:
        hasher = PackHasher(pool)
        for number in range(4):
            hasher.update(bytes([number]) * BLOCK_BYTES)
            pool.submit(int).result()  # what was submitted before is done

        assert len(hasher._waiting) <= 1


def test_short_data_is_copied_into_stretches() -> None:
    hasher, expected = PackHasher(), PackHasher()
    for _ in range(1000):
        hasher.update(b"x" * 100)
    assert len(hasher._gathered) == 0
    hasher.update(b"y" * SMALL_BYTES)
    hasher.update(b"z" * (BLOCK_BYTES - hasher.size))
    expected.update(b"x" * 100_000 + b"y" * SMALL_BYTES)
    expected.update(b"z" * (BLOCK_BYTES - expected.size))

    assert hasher.finish("open") == expected.finish("open")
