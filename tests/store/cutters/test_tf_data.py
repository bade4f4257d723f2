"""Data files of TensorFlow checkpoints are cut by their index, wherever the clone puts it first."""

import pytest

from ptmtorrent.store.cutters import MemorySource, cut, may_describe, needs_nearby
from tests.store.cutters.container_writers import checkpoint
from tests.store.cutters.samples import among
from tests.store.samples import numbers

INDEX, (FIRST, SECOND) = checkpoint(
    {"a": ("F32", [200, 200], numbers(40_000).tobytes()), "b": ("F32", [300, 100], numbers(30_000, 2).tobytes())},
    shards=2,
)


@pytest.mark.parametrize(("data", "shard", "length"), [(FIRST, 0, 160_000), (SECOND, 1, 120_000)])
def test_each_data_file_has_the_tensors_of_its_shard(data: bytes, shard: int, length: int) -> None:
    name = f"variables/variables.data-{shard:05}-of-00002"
    found = cut(MemorySource(data), name, among({"variables/variables.index": INDEX}))
    assert found.cutter == "tf-data/1"
    assert [(piece.length, piece.dtype) for piece in found.pieces] == [(length, "F32")]


@pytest.mark.parametrize("beside", [{}, {"variables.index": INDEX}, {"variables/variables.index": INDEX[:-1]}])
def test_without_its_index_a_data_file_is_not_cut(beside: dict[str, bytes]) -> None:
    found = cut(MemorySource(FIRST), "variables/variables.data-00000-of-00002", among(beside))
    assert found.cutter == "opaque/1"


def test_an_index_that_names_bytes_beyond_the_file_is_not_believed() -> None:
    found = cut(MemorySource(FIRST[:100_000]), "m.data-00000-of-00002", among({"m.index": INDEX}))
    assert found.cutter == "opaque/1"


def test_data_files_wait_for_what_describes_them() -> None:
    assert needs_nearby("m.ckpt.data-00000-of-00001")
    assert may_describe("m.ckpt.index")
    assert not may_describe("m.ckpt.data-00000-of-00001")
    assert not needs_nearby("m.ckpt.index")
