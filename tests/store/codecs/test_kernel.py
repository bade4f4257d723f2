"""The native kernel writes what numpy writes, is used only where it does, and is never called with a wrong length."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.store import codecs
from ptmtorrent.store.codecs import deltas, kernel
from tests.store.codecs.versions_of_weights import special, two_versions

NATIVE = kernel.load_native()
needs_native = pytest.mark.skipif(NATIVE is None, reason="the native kernel was not built: no C compiler")
LAYOUTS = [(2, False), (2, True), (4, False), (4, True), (8, False)]
SIZES = st.one_of(st.integers(0, 70), st.integers(1000, 1050), st.integers(2040, 2060), st.integers(65_500, 65_600))


@pytest.fixture(autouse=True)
def _chosen_anew() -> Iterator[None]:
    choose = kernel.chosen
    choose.cache_clear()
    yield
    choose.cache_clear()


def both() -> tuple[kernel.Kernel, kernel.Kernel]:
    assert NATIVE is not None
    return kernel.NUMPY, NATIVE


def draw_bytes(size: int, seed: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(size), np.uint8)


@needs_native
@settings(max_examples=40, deadline=None)
@given(words=SIZES, layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 99), odd=st.integers(0, 7))
def test_both_kernels_split_and_join_alike(words: int, layout: tuple[int, bool], seed: int, odd: int) -> None:
    width, rotated = layout
    block = draw_bytes(words * width + odd, seed)[odd:]  # at any address
    planes = [np.empty((width, words), np.uint8) for _ in both()]
    back = [np.empty(block.size, np.uint8) for _ in both()]
    for one, into, again in zip(both(), planes, back, strict=True):
        one.split(block, list(into), rotated)
        one.join(list(into), again, rotated)
    assert np.array_equal(*planes)
    assert [again.tobytes() for again in back] == [block.tobytes()] * 2


@needs_native
@settings(max_examples=40, deadline=None)
@given(
    words=SIZES,
    dtype=st.sampled_from(sorted(deltas.BY_DTYPE)),
    grouped=st.booleans(),
    kind=st.sampled_from(["any", "special", "weights"]),
    odd=st.integers(0, 3),
)
def test_both_kernels_subtract_and_add_alike(words: int, dtype: str, grouped: bool, kind: str, odd: int) -> None:
    numbers = deltas.BY_DTYPE[dtype]
    size = words * numbers.width
    pair = {
        "any": (draw_bytes(size, 1).tobytes(), draw_bytes(size, 2).tobytes()),
        "special": (special(dtype, words, 1), special(dtype, words, 2)),
        "weights": two_versions(dtype, words, 0.02),
    }[kind]
    data, base = (np.frombuffer(bytes(odd) + version, np.uint8)[odd:] for version in pair)
    planes = [np.empty((numbers.width, words), np.uint8) for _ in both()]
    back = [np.empty(size, np.uint8) for _ in both()]
    for one, into, again in zip(both(), planes, back, strict=True):
        one.subtract(numbers, data, base, list(into), grouped)
        one.add(numbers, list(into), base, again, grouped)
    assert np.array_equal(*planes)
    assert [again.tobytes() for again in back] == [data.tobytes()] * 2


@needs_native
@settings(max_examples=30, deadline=None)
@given(size=SIZES, step=st.integers(1, 70), seed=st.integers(0, 9))
def test_both_kernels_count_alike(size: int, step: int, seed: int) -> None:
    data = draw_bytes(size, seed)
    counts = [one.count(data, step) for one in both()]
    assert np.array_equal(*counts)
    assert counts[0].dtype == counts[1].dtype == np.int64


@needs_native
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64", "I8", None])
def test_payloads_are_the_same_whichever_kernel_wrote_them(dtype: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    base, data = two_versions(dtype if dtype in codecs.DELTA_DTYPES else "F32", 400_000, 0.01)
    written = []
    for one in both():
        monkeypatch.setattr(kernel, "chosen", lambda one=one: one)
        delta = codecs.encode_delta(data, base, dtype)
        written.append((codecs.encode(data + b"\x01", dtype), delta))
        for encoded, raw in zip(written[-1], (data + b"\x01", data), strict=True):
            assert encoded is None or codecs.decode(encoded.codec, b"".join(encoded.chunks), len(raw), base) == raw
    assert written[0] == written[1]


def test_numpy_is_used_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTMTORRENT_KERNEL", "numpy")
    assert codecs.kernel_in_use() == "numpy"


@needs_native
def test_the_native_kernel_is_used_where_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PTMTORRENT_KERNEL", raising=False)
    assert codecs.kernel_in_use() == "native"


def test_numpy_is_used_where_there_is_no_library(tmp_path: Path) -> None:
    assert kernel.load_native(tmp_path / "none.so") is None


def test_a_library_that_is_none_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "kernel.so").write_bytes(b"\x7fELF and no more")
    assert kernel.load_native(tmp_path / "kernel.so") is None


@needs_native
def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ABI", kernel.ABI + 1)
    assert kernel.load_native() is None


@needs_native
def test_nothing_is_loaded_on_a_big_endian_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.byteorder", "big")
    assert kernel.load_native() is None


@needs_native
@pytest.mark.parametrize("loop", ["split", "join", "subtract", "add"])
def test_a_library_that_does_otherwise_than_numpy_is_not_used(loop: str) -> None:
    _, honest = both()
    assert kernel.hash_probe(kernel.NUMPY) == kernel.hash_probe(honest) == kernel.PROBE_HASH
    lazy = dataclasses.replace(honest, **{loop: lambda *_: None})
    assert kernel.hash_probe(lazy) != kernel.PROBE_HASH


@needs_native
@pytest.mark.parametrize("loop", ["unpack", "pack", "sort", "unsort"])
def test_loops_for_scaled_numbers_that_do_otherwise_than_numpy_are_not_used(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, honest = both()
    assert kernel.hash_scaled_probe(kernel.NUMPY) == kernel.hash_scaled_probe(honest) == kernel.SCALED_PROBE_HASH
    monkeypatch.setattr(kernel, "chosen", lambda: dataclasses.replace(honest, **{loop: lambda *_: None}))
    assert kernel.chosen_for_scaled.__wrapped__() is kernel.NUMPY


def test_the_abi_in_c_is_the_one_in_python() -> None:
    source = Path(kernel.__file__).with_name("kernel.c").read_text()
    assert f"ABI = {kernel.ABI}," in source


BYTES = np.zeros(64, np.uint8)
PLANES = [np.zeros(32, np.uint8) for _ in range(2)]
FROZEN = np.frombuffer(bytes(64), np.uint8)


@needs_native
@pytest.mark.parametrize(
    ("block", "planes"),
    [
        (BYTES[:-1], PLANES),
        (BYTES, [PLANES[0], PLANES[1][:-1]]),
        (BYTES, [PLANES[0][:-1], PLANES[1]]),
        (BYTES[::2].repeat(2)[::-1], PLANES),
        (BYTES.view(np.uint16), [np.zeros(16, np.uint8)] * 2),
        (BYTES, [FROZEN[:32], FROZEN[32:]]),
        (BYTES[:48], [np.zeros(16, np.uint8)] * 3),
    ],
    ids=["short block", "short plane", "long block", "backwards", "no bytes", "read-only", "three planes"],
)
def test_arrays_of_the_wrong_kind_never_reach_c(block: np.ndarray, planes: list[np.ndarray]) -> None:
    _, honest = both()
    with pytest.raises(ValueError, match="kernel"):
        honest.split(block, planes, False)


@needs_native
def test_a_read_only_block_is_never_written() -> None:
    _, honest = both()
    with pytest.raises(ValueError, match="kernel"):
        honest.join(PLANES, FROZEN, False)
    with pytest.raises(ValueError, match="kernel"):
        honest.add(deltas.BY_DTYPE["BF16"], PLANES, BYTES, FROZEN, False)


@needs_native
def test_a_base_of_another_size_never_reaches_c() -> None:
    _, honest = both()
    with pytest.raises(ValueError, match="kernel"):
        honest.subtract(deltas.BY_DTYPE["BF16"], BYTES, BYTES[:-2], PLANES, True)
