"""A file that shrinks while it is cut does not cause an unexpected error."""

import pytest

from ptmtorrent.store.cutters import MemorySource, cut
from tests.store.cutters.samples import mixed_zip, npz
from tests.store.cutters.writers import gguf, model, onnx, torch_zip
from tests.store.samples import safetensors

FILES = {
    "a.safetensors": lambda: safetensors(model()),
    "a.bin": lambda: torch_zip(model()),
    "a.npz": npz,
    "a.zip": mixed_zip,
    "a.gguf": lambda: gguf(model()),
    "a.onnx": lambda: onnx(model()),
}
LEFT = (0, 6, 9, 100)


class Shrinking(MemorySource):
    """Reads all that was asked for `sound` times, then only the first `left` bytes."""

    def __init__(self, data: bytes, sound: int, left: int) -> None:
        super().__init__(data)
        self.reads, self._sound, self._left = 0, sound, left

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        data = super().read(offset, length)
        return data if self.reads <= self._sound else data[: self._left]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_shrinks_between_two_reads_is_cut_all_the_same(name: str) -> None:
    data = FILES[name]()
    whole = Shrinking(data, 1 << 30, 0)
    cut(whole, name)
    assert whole.reads
    for sound in range(min(whole.reads, 40)):
        for left in LEFT:
            pieces = cut(Shrinking(data, sound, left), name).pieces
            assert sum(piece.length for piece in pieces) == len(data)
