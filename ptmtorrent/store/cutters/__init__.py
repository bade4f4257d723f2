"""Cutters split a file into objects so that equal tensors become equal objects (docs/formats/cutters.md).

In come a file and its name; out go the cutter's name and pieces: offset, length, dtype and key. `cut` tries each cutter
in order. A cutter that does not recognise the file, or finds anything its format does not allow, is skipped. A file of
no known format is cut into content-defined chunks or slices.

Order of reading: `port`, `covering` (from a format's tensors to pieces), then one format: `safetensors`, `torch_zip`
and `stored_zip` over `zip_directory`, `gguf`, `onnx` and `onnx_data` over `onnx_fields`, `chunks`, `opaque`.

Invariants: the pieces cover the file exactly once, `cut` never fails on a file, and a version always cuts alike.
"""

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.store.cutters.chunks import Chunks, Opaque
from ptmtorrent.store.cutters.gguf import Gguf
from ptmtorrent.store.cutters.onnx import Onnx
from ptmtorrent.store.cutters.onnx_data import OnnxData, needs_nearby
from ptmtorrent.store.cutters.port import (
    ByteSource,
    Cut,
    Cutter,
    FileSource,
    MemorySource,
    Nearby,
    NotThisFormat,
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
    "NotThisFormat",
    "Piece",
    "cut",
    "cut_as",
    "cutters",
    "needs_nearby",
    "slices",
]

KEYLESS = frozenset({Chunks.name, Opaque.name})
"""Cutters whose pieces never have a key, so a file need not be cut again (for chunks: read to its end) to find them."""


def cutters(name: str, nearby: Nearby | None = None) -> tuple[Cutter, ...]:
    """Return the cutters in the order in which they are tried for a file `name`; the last one accepts every file."""
    return (Safetensors(), TorchZip(), StoredZip(), Gguf(), Onnx(), OnnxData(name, nearby), Chunks(), Opaque())


def cut(source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Return the pieces of `source`, a file `name`; `nearby` returns other files of its package by path.

    The pieces are in file order and together cover every byte of `source` exactly once; none is longer than 16 MiB.
    """
    for cutter in cutters(name, nearby):
        if not cutter.recognises(source, name):
            continue
        try:
            return Cut(cutter=cutter.name, pieces=cutter.cut(source))
        except NotThisFormat:
            continue
    raise AssertionError("the opaque cutter accepts every file")


def cut_as(cutter: str, source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Return the pieces of `source`, a file `name`, as cut by the cutter that a recipe names (`safetensors/1`).

    Raises:
        IntegrityError: the file is not of that format.
        UnsupportedFormat: an unknown cutter.
    """
    found = next((one for one in cutters(name, nearby) if one.name == cutter), None)
    if found is None:
        raise UnsupportedFormat(
            f"`{name}` was cut by `{cutter}`, which this program does not know",
            hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
        )
    try:
        return Cut(cutter=cutter, pieces=found.cut(source))
    except NotThisFormat as error:
        raise IntegrityError(f"`{name}` is not a file that `{cutter}` can cut") from error
