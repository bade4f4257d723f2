"""A valid file of every format, with its name and the files beside it."""

import io
import zipfile
from collections.abc import Mapping

import msgspec
import numpy as np

from ptmtorrent.model.manifest import MAX_OBJECT_BYTES
from ptmtorrent.store.cutters import Cut, MemorySource, Nearby, Piece, cut
from tests.store.cutters import container_writers, writers
from tests.store.samples import numbers, random_bytes, safetensors


class Sample(msgspec.Struct, frozen=True):
    """A file with its name, the cutter that takes it, and other files of its package."""

    name: str
    data: bytes
    cutter: str
    beside: Mapping[str, bytes] = {}

    @property
    def nearby(self) -> Nearby:
        return among(self.beside)


class Sparse(MemorySource):
    """A long file of zeros with something at its front and its end. Counts what is read."""

    def __init__(self, size: int, head: bytes = b"", tail: bytes = b"") -> None:
        super().__init__(b"")
        self._head, self._tail, self._whole = head, tail, size
        self.bytes_read = 0

    @property
    def size(self) -> int:
        return self._whole

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self._whole - offset))
        self.bytes_read += length
        data = bytearray(length)
        for at, part in ((0, self._head), (self._whole - len(self._tail), self._tail)):
            start, end = max(at, offset), min(at + len(part), offset + length)
            if start < end:
                data[start - offset : end - offset] = part[start - at : end - at]
        return bytes(data)


def among(files: Mapping[str, bytes]) -> Nearby:
    """Give the files of a package."""
    return lambda path: MemorySource(files[path]) if path in files else None


def samples() -> dict[str, Sample]:
    """Return the files, small enough for a hundred thousand mutations."""
    tensors = writers.model()
    blocks = {**tensors, "q4": ("U8", [256, 1024], random_bytes(144 * 1024, 8))}
    kinds = {"q4": 12, "layers.0.größe": 24}
    model, external = writers.onnx_external(tensors, "model.onnx_data")
    return {
        "safetensors": Sample("model.safetensors", safetensors(tensors), "safetensors/1"),
        "torch": Sample("pytorch_model.bin", writers.torch_zip(tensors), "torch-zip/1"),
        "torch checkpoint": Sample("last.pth.tar", writers.torch_zip(tensors, wrap=True, folder="last"), "torch-zip/1"),
        "npz": Sample("arrays.npz", npz(), "zip/2"),
        "zip": Sample("files.zip", mixed_zip(), "zip/2"),
        "gguf": Sample("model.gguf", writers.gguf(blocks, words=6000, kinds=kinds), "gguf/1"),
        "gguf 2": Sample("model.gguf", writers.gguf(tensors, alignment=64, version=2), "gguf/1"),
        "onnx": Sample("model.onnx", writers.onnx(tensors), "onnx/1"),
        "onnx, name last": Sample("model.onnx", writers.onnx(tensors, name_last=True, in_nodes=True), "onnx/1"),
        "onnx, typed": Sample("model.onnx", writers.onnx(tensors, typed=True), "onnx/1"),
        "onnx data": Sample("onnx/model.onnx_data", external, "onnx-data/1", {"onnx/model.onnx": model}),
        **_further(tensors),
        "text": Sample("vocab.txt", b"word\n" * 5000, "opaque/1"),
    }


def _further(tensors: writers.Tensors) -> dict[str, Sample]:
    """Return files of the formats that are parsed in `model/containers`, under names that say nothing."""
    plain = {name.encode("ascii", "replace").decode(): tensor for name, tensor in tensors.items()}
    old = {name: tensor for name, tensor in plain.items() if tensor[0] != "BF16"}
    hdf5 = container_writers.hdf5(plain)
    index, (shard, second) = container_writers.checkpoint(tensors, shards=2)
    beside = {"m.ckpt.index": index, "m.ckpt.data-00001-of-00002": second}
    return {
        "gguf 1": Sample("a", writers.gguf(tensors, version=1), "gguf/1"),
        "gguf, big-endian": Sample("b", writers.gguf(tensors, words=6000, order=">"), "gguf/1"),
        "npy": Sample("c", container_writers.npy("<f4", (150, 200), numbers(30_000).tobytes()), "npy/1"),
        "msgpack": Sample("d", container_writers.msgpack(tensors), "msgpack/1"),
        "torch legacy": Sample("e", container_writers.torch_legacy(tensors), "torch/1"),
        "torch tar": Sample("f", container_writers.torch_tar(old), "tar/1"),
        "hdf5": Sample("g", hdf5, "hdf5/1"),
        "hdf5, chunks": Sample("h", container_writers.hdf5(plain, chunk_rows=2), "hdf5/1"),
        "tar": Sample("i", container_writers.tar({"m.h5": hdf5, "m.bin": writers.torch_zip(tensors)}), "tar/1"),
        "keras": Sample("j", stored({"config.json": b"{}", "model.weights.h5": hdf5}), "zip/2"),
        "checkpoint": Sample("m.ckpt.data-00000-of-00002", shard, "tf-data/1", beside),
    }


def stored(members: Mapping[str, bytes]) -> bytes:
    """A zip of stored members, the same in every run."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def long_sample() -> Sample:
    """Return a file of no known format, too long to be one object."""
    return Sample("weights.h5", random_bytes((6 << 20) + 5, 9), "chunks/1")


def npz() -> bytes:
    """What numpy writes."""
    out = io.BytesIO()
    np.savez(
        out,
        weight=numbers(20_000).reshape(100, 200),
        bias=numbers(100),
        double=numbers(10_000).astype("f8"),
        codes=np.frombuffer(random_bytes(70_000), "i1"),
    )
    return out.getvalue()


def mixed_zip() -> bytes:
    """Stored and compressed members, with a folder, a comment and sizes that follow the data."""
    out = io.BytesIO()
    with zipfile.ZipFile(Unseekable(out), "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/stored.bin", random_bytes(90_000))
        archive.writestr("folder/packed.txt", b"words " * 20_000, zipfile.ZIP_DEFLATED)
        archive.writestr("packed.bin", random_bytes(80_000, 2), zipfile.ZIP_DEFLATED)
        archive.comment = b"a comment"
    return out.getvalue()


class Unseekable(io.RawIOBase):
    """A file that cannot go back, as a pipe: what is written to it puts sizes behind the data."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # noqa: ANN001  # whatever has a buffer
        return self._target.write(data)


def covers(pieces: tuple[Piece, ...], size: int) -> bool:
    """Tell whether pieces are in order, cover everything once, and are neither too long nor too many."""
    at = 0
    for piece in pieces:
        if piece.offset != at or not 0 < piece.length <= MAX_OBJECT_BYTES:
            return False
        at += piece.length
    return at == size and len(pieces) <= size // (32 << 10) + 2


def cut_sample(sample: Sample) -> Cut:
    return cut(MemorySource(sample.data), sample.name, sample.nearby)


def cut_bytes(data: bytes, name: str) -> Cut:
    return cut(MemorySource(data), name)


def contents(data: bytes, found: Cut) -> list[bytes]:
    return [data[piece.offset : piece.offset + piece.length] for piece in found.pieces]
