"""Tensors that the store has transposed, as TensorFlow and Flax store the kernels of torch, share their bytes."""

from pathlib import Path

import numpy as np
import pytest

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store import codecs
from ptmtorrent.store.store import Store, StoredFile
from tests.store.samples import GATED, WEIGHTS, numbers, reading, safetensors, writing
from tests.store.test_deltas import COLD, add, content, to_bf16

SHAPES = {"query": (300, 200), "up": (128, 480)}


def model(noise: float = 0.0, *, turned: bool = False) -> bytes:
    """A file of bf16 kernels, `turned` in the layout of another framework; with `noise`, a fine-tune."""
    tensors = {}
    for number, (name, shape) in enumerate(SHAPES.items(), 1):
        random = np.random.default_rng(99 + number)
        size = shape[0] * shape[1]
        values = numbers(size, number) + random.standard_normal(size, dtype=np.float32) * np.float32(noise * 0.02)
        kernel = values.reshape(shape)
        laid = np.ascontiguousarray(kernel.T if turned else kernel)
        tensors[f"{name}/kernel:0" if turned else f"{name}.weight"] = ("BF16", list(laid.shape), to_bf16(laid))
    return safetensors(tensors)


def kernels(file: StoredFile) -> list[ObjectId]:
    return [identifier for identifier, size in file.objects if size > 1 << 16]


def codecs_of(store: Store, file: StoredFile) -> set[int]:
    store.seal()
    return {store.location(identifier).codec for identifier in kernels(file)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.mark.parametrize("first", [False, True], ids=["torch first", "Flax first"])
def test_the_same_kernels_in_another_layout_take_a_few_bytes(root: Path, tmp_path: Path, *, first: bool) -> None:
    with writing(root) as store:
        one = add(store, tmp_path, model(turned=first))
        other = add(store, tmp_path, model(turned=not first))
        assert codecs_of(store, other) == {codecs.TRANSPOSED}
        assert [store.location(identifier).length for identifier in kernels(other)] == [8, 8]
        assert {store.base_of(identifier) for identifier in kernels(other)} == set(kernels(one))
    with reading(root) as store:
        assert content(store, other) == model(turned=not first)


@pytest.mark.parametrize("declared", [False, True])
def test_a_fine_tune_in_both_layouts_is_stored_as_deltas(root: Path, tmp_path: Path, *, declared: bool) -> None:
    with writing(root) as store:
        base = [add(store, tmp_path, model(turned=turned)) for turned in (False, True)]
        tuned = [
            add(store, tmp_path, model(0.002, turned=turned), bases=(base[turned],) if declared else ())
            for turned in (False, True)
        ]
        assert codecs_of(store, tuned[0]) <= {codecs.DELTA, codecs.GROUPED_DELTA}
        assert codecs_of(store, tuned[1]) == {codecs.TRANSPOSED}
        for file in tuned:
            assert {store.base_of(identifier) for identifier in kernels(file)} == set(kernels(base[0]))
            assert all(5 * store.location(identifier).length < 2 * 60_000 for identifier in kernels(file))
        assert [content(store, file) for file in tuned] == [model(0.002), model(0.002, turned=True)]


def test_an_open_transpose_never_needs_a_gated_matrix(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        add(store, tmp_path, model(), GATED)
        assert codecs.TRANSPOSED not in codecs_of(store, add(store, tmp_path, model(turned=True), WEIGHTS))


def test_without_delta_there_are_no_transposes(root: Path, tmp_path: Path) -> None:
    with Store.open(root, write=True, delta=False) as store:
        add(store, tmp_path, model())
        assert codecs_of(store, add(store, tmp_path, model(turned=True))) == {codecs.BF16}


def test_a_rebuilt_index_lists_the_matrices_of_transposes(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        add(store, tmp_path, model())
        other = add(store, tmp_path, model(turned=True), COLD)
        assert codecs_of(store, other) == {codecs.TRANSPOSED}
    for path in root.glob("index.sqlite*"):
        path.unlink()
    with writing(root) as store:
        assert all(store.base_of(identifier) is not None for identifier in kernels(other))
        assert content(store, other) == model(turned=True)


def test_a_pack_of_a_matrix_that_went_away_takes_its_transposes_from_the_index(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        add(store, tmp_path, model())
        (pack,) = store.seal()
        other = add(store, tmp_path, model(turned=True), COLD)
        assert codecs_of(store, other) == {codecs.TRANSPOSED}
        store.pack_file(pack).unlink()
    with writing(root) as store:
        store.rebuild_index()
        assert not any(store.has(identifier) for identifier in kernels(other))
        assert content(store, add(store, tmp_path, model(turned=True))) == model(turned=True)
