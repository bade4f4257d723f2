"""How a file is split into objects, so that equal tensors become equal objects (docs/formats/cutters.md).

`cut` asks each cutter whether it knows the file; one that does not understand what it finds says so, and the next is
asked: a file that none understands is cut into chunks or slices, and is still a file we keep.
"""

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.cutters.chunks import Chunks
from ptmtorrent.store.cutters.gguf import Gguf
from ptmtorrent.store.cutters.onnx import Onnx
from ptmtorrent.store.cutters.onnx_data import OnnxData, needs_nearby
from ptmtorrent.store.cutters.opaque import Opaque
from ptmtorrent.store.cutters.port import (
    ByteSource,
    Cut,
    Cutter,
    FileSource,
    MemorySource,
    Nearby,
    NotMine,
    Piece,
    slices,
)
from ptmtorrent.store.cutters.safetensors import Safetensors
from ptmtorrent.store.cutters.stored_zip import StoredZip
from ptmtorrent.store.cutters.torch_zip import TorchZip

__all__ = [
    "KEYLESS",
    "ByteSource",
    "Cut",
    "Cutter",
    "FileSource",
    "MemorySource",
    "Nearby",
    "NotMine",
    "Piece",
    "cut",
    "cut_as",
    "cutters",
    "needs_nearby",
    "slices",
]

KEYLESS = frozenset({Chunks.name, Opaque.name})
"""Cutters whose pieces never have a key. The chunks of a file are found by reading all of it."""


def cutters(name: str, nearby: Nearby | None = None) -> tuple[Cutter, ...]:
    """Return the cutters in the order they are asked about a file called `name`; the last one takes every file."""
    return (Safetensors(), TorchZip(), StoredZip(), Gguf(), Onnx(), OnnxData(name, nearby), Chunks(), Opaque())


def cut(source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Split `source`, a file called `name`; `nearby` gives other files of its package by their paths.

    The pieces are in file order and together cover every byte of `source` exactly once; none is longer than 16 MiB.
    """
    for cutter in cutters(name, nearby):
        if not cutter.recognises(source, name):
            continue
        try:
            return Cut(cutter=cutter.name, pieces=cutter.cut(source))
        except NotMine:
            continue
    raise AssertionError("the opaque cutter takes every file")


def cut_as(cutter: str, source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Split `source`, a file called `name`, the way a recipe names (`safetensors/1`).

    Raises:
        IntegrityError: the file is none of that format.
        UnsupportedFormat: this version knows no such cutter.
    """
    found = next((one for one in cutters(name, nearby) if one.name == cutter), None)
    if found is None:
        raise UnsupportedFormat(
            f"`{name}` was cut by `{cutter}`, which this program does not know",
            hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
        )
    try:
        return Cut(cutter=cutter, pieces=found.cut(source))
    except NotMine as error:
        raise IntegrityError(f"`{name}` is not what `{cutter}` cuts") from error
