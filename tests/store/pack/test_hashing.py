import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.hashes import PackHasher
from tests.store.samples import random_bytes

MIB = 1 << 20
DATA = random_bytes(12 * MIB)


def merkle(nodes: list[bytes]) -> bytes:
    while len(nodes) > 1:
        nodes = [hashlib.sha256(nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes), 2)]
    return nodes[0]


def leaves(data: bytes) -> list[bytes]:
    return [hashlib.sha256(data[at : at + 16384]).digest() for at in range(0, len(data), 16384)]


def test_all_hashes_follow_their_definitions() -> None:
    hasher = PackHasher()
    hasher.update(DATA)
    hashes = hasher.finish("open")
    pieces = [DATA[at : at + 4 * MIB] for at in range(0, len(DATA), 4 * MIB)]
    assert hashes.pack == blake3(DATA).hexdigest()
    assert hashes.size == len(DATA)
    assert hashes.pieces_v1 == b"".join(hashlib.sha1(piece).digest() for piece in pieces)  # noqa: S324  # BEP 3
    assert hashes.layer_v2 == b"".join(merkle(leaves(piece)) for piece in pieces)
    assert hashes.root_v2 == merkle(leaves(DATA) + [bytes(32)] * 256)


def test_a_single_piece_has_a_root_and_no_layer() -> None:
    hasher = PackHasher()
    hasher.update(DATA[: 4 * MIB])
    hashes = hasher.finish("gated")
    assert hashes.root_v2 == merkle(leaves(DATA[: 4 * MIB]))
    assert hashes.layer_v2 == b""
    assert hashes.rights == "gated"


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
