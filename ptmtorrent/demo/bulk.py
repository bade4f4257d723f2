"""Generated packages of any size that take no disk space, for tests that interrupt large transfers.

One tile of bf16 noise is generated once. Every block is that tile, rotated by an offset and with other mantissa bits,
which both depend on the package name and the block number. So blocks differ, and serving runs at memory speed.
"""

from collections.abc import Iterator
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from ptmtorrent.demo.contents import CHUNK_BYTES
from ptmtorrent.demo.formats.safetensors import encode_header
from ptmtorrent.demo.noise import weights, words
from ptmtorrent.demo.package import Package, PackageFile
from ptmtorrent.demo.tensors import render
from ptmtorrent.demo.texts import gitattributes, json_file, readme

TENSOR_BYTES = 8 << 20
_TILE_WORDS = CHUNK_BYTES // 2


class Bulk(msgspec.Struct, frozen=True):
    """A safetensors file: a header, then bf16 noise that depends only on `seed` and is generated when read."""

    seed: str
    header: bytes
    data_bytes: int

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.header) + self.data_bytes

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Generate blocks of 1 MiB as they are read."""
        if start < len(self.header):
            yield self.header[start:stop]
        first, last = max(0, start - len(self.header)), stop - len(self.header)
        while first < last:
            number, skip = divmod(first, CHUNK_BYTES)
            data = _block(self.seed, number)[skip : skip + last - first]
            first += len(data)
            yield data


def bulk_packages(count: int, file_bytes: int) -> tuple[Package, ...]:
    """Return `count` packages `bulk/NNN`, each with one `model.safetensors` of about `file_bytes` bytes."""
    return tuple(_bulk_package(f"bulk/{number:03}", file_bytes) for number in range(count))


def _bulk_package(name: str, file_bytes: int) -> Package:
    sizes = [min(TENSOR_BYTES, file_bytes - offset) & ~1 for offset in range(0, file_bytes, TENSOR_BYTES)]
    rows = [(f"layer.{row:05}.weight", "BF16", (size // 2,), size) for row, size in enumerate(sizes)]
    content = Bulk(name, encode_header(rows), sum(sizes))
    files = (
        gitattributes(),
        readme(name, {"license": "mit"}, "As large as it has to be."),
        json_file("config.json", {"model_type": "bulk", "name": name}),
        PackageFile(path="model.safetensors", content=content),
    )
    return Package(name=name, files=files, licence="mit", downloads=1_000)


@lru_cache(maxsize=1)
def _tile() -> NDArray[np.uint16]:
    (tensor,) = render({"tile": weights("bulk tile", _TILE_WORDS)}, "BF16")
    return np.frombuffer(tensor.data, dtype="<u2")


def _block(seed: str, number: int) -> bytes:
    draw = int(words(f"{seed}/{number}", 1)[0])
    rotated = np.roll(_tile(), draw % _TILE_WORDS)
    return (rotated ^ np.uint16(draw >> 40 & 0x7F)).astype("<u2").tobytes()
