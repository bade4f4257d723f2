"""The contract of cutters: pieces cover a file exactly once, whatever it is, and little of it is remembered."""

import tracemalloc

import pytest

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.cutters import Cut, Cutter, MemorySource, NotThisFormat, cut, cut_as, cutters
from tests.store.cutters.samples import Sparse, contents, covers, cut_bytes, cut_sample, long_sample, samples

SAMPLES = {**samples(), "long": long_sample()}
NAMES = [cutter.name for cutter in cutters("")]
GIB = 1 << 30


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_cut_by_the_cutter_of_its_format(name: str) -> None:
    sample = SAMPLES[name]
    found = cut_sample(sample)
    assert found.cutter == sample.cutter
    assert covers(found.pieces, len(sample.data))
    assert b"".join(contents(sample.data, found)) == sample.data


@pytest.mark.parametrize("name", SAMPLES)
def test_a_recipe_says_how_to_cut_again(name: str) -> None:
    sample = SAMPLES[name]
    assert cut_as(sample.cutter, MemorySource(sample.data), sample.name, sample.nearby) == cut_sample(sample)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "cutter", cutters("onnx/model.onnx_data", SAMPLES["onnx data"].nearby), ids=lambda one: one.name
)
def test_a_cutter_covers_any_file_or_says_it_is_not_its_own(cutter: Cutter, name: str) -> None:
    data = SAMPLES[name].data
    try:
        pieces = cutter.cut(MemorySource(data))
    except NotThisFormat:
        return
    assert covers(pieces, len(data))


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"long", "text"}))
def test_a_file_cut_short_anywhere_is_still_covered(name: str) -> None:
    sample = SAMPLES[name]
    for length in range(0, len(sample.data), len(sample.data) // 50):
        assert covers(cut_bytes(sample.data[:length], sample.name).pieces, length)


@pytest.mark.parametrize("cutter", [name for name in NAMES if name not in {"opaque/1", "chunks/1"}])
def test_a_recipe_that_does_not_fit_the_file_is_refused(cutter: str) -> None:
    with pytest.raises(IntegrityError, match=f"`{cutter}`"):
        cut_as(cutter, MemorySource(b"word\n" * 100), "vocab.txt")


def test_a_cutter_of_a_newer_version_is_not_guessed() -> None:
    with pytest.raises(UnsupportedFormat, match="`gguf/2`"):
        cut_as("gguf/2", MemorySource(b""), "model.gguf")


def test_an_empty_file_has_no_pieces() -> None:
    assert cut_bytes(b"", "empty.txt") == Cut("opaque/1", ())


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"long", "text", "onnx data"}))
def test_a_long_file_costs_little_memory(name: str) -> None:
    sample = SAMPLES[name]
    source = Sparse(64 << 20, sample.data, sample.data[-70_000:])
    tracemalloc.start()
    try:
        found = cut(source, sample.name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert covers(found.pieces, source.size)
    assert peak < 48 << 20
