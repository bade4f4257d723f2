"""Cutters split a file into objects so that equal tensors become equal objects (docs/formats/cutters.md).

In come a file and its name; out go the cutter's name and pieces: offset, length, dtype and key. A table of first bytes
and sizes says which cutters may know a file; its name matters only where another file describes it. `cut` tries these
in order; one that finds anything its format does not allow is skipped. A file of no known format is cut into
content-defined chunks or slices.

The parsers are in `model/containers/`. Order of reading: `port` (with `cover`: from a format's tensors to pieces), then
one format: `safetensors`, `torch_zip` and `stored_zip` over `zip_members`, `tar`, `inside` (files inside both), `gguf`,
`tensors` (formats whose tensors are all there is to cut), `onnx`, `onnx_data`, `tf_data`, `chunks`.

Invariants: the pieces cover the file exactly once, `cut` never fails on a file, and a version always cuts alike.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.containers.gguf import MAGIC as GGUF
from ptmtorrent.model.containers.hdf5 import MAGIC as HDF5
from ptmtorrent.model.containers.npy import MAGIC as NPY
from ptmtorrent.model.containers.safetensors import START as SAFETENSORS
from ptmtorrent.model.containers.tar import START as TAR
from ptmtorrent.model.containers.tensorflow import DATA as TF_DATA
from ptmtorrent.model.containers.tensorflow import INDEX
from ptmtorrent.model.containers.torch_legacy import START as TORCH_LEGACY
from ptmtorrent.model.containers.zip_directory import MAGIC as ZIP
from ptmtorrent.store.cutters import onnx_data, tensors
from ptmtorrent.store.cutters.chunks import MIN_BYTES, Chunks, Opaque
from ptmtorrent.store.cutters.gguf import Gguf
from ptmtorrent.store.cutters.onnx import Onnx
from ptmtorrent.store.cutters.onnx_data import OnnxData
from ptmtorrent.store.cutters.port import (
    JOIN_BELOW_BYTES,
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
from ptmtorrent.store.cutters.tar import Tar
from ptmtorrent.store.cutters.tf_data import TfData
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
    "may_describe",
    "needs_nearby",
    "slices",
]

KEYLESS = frozenset({Chunks.name, Opaque.name})
"""Cutters whose pieces never have a key, so a file need not be cut again (for chunks: read to its end) to find them."""


_START_BYTES = 512


class _Format(NamedTuple):
    """How to recognise a format, by the name, the first bytes and the size of a file, and its cutter.

    `make` is called with the path of the file and the function that returns other files of the package.
    """

    make: Callable[[str, Nearby | None], Cutter]
    name: re.Pattern[str] = re.compile("")
    start: re.Pattern[bytes] = re.compile(b"")
    min_bytes: int = 0


def _is(magic: bytes) -> re.Pattern[bytes]:
    return re.compile(re.escape(magic))


# The first byte of an ONNX model is the tag of one of the fields 1 to 8 of `ModelProto`.
_ONNX = re.compile(rb"[\x08\x12\x1a\x22\x28\x32\x3a\x42]")
# A map with entries, then a text.
_MSGPACK = re.compile(rb"(?s)(?:[\x81-\x8f]|\xde..|\xdf....)[\xa1-\xbf\xd9-\xdb]")
_FORMATS = (
    _Format(lambda *_: Safetensors(), start=SAFETENSORS),
    _Format(lambda *_: TorchZip(), start=_is(ZIP)),
    _Format(lambda *_: StoredZip(), start=_is(ZIP)),
    _Format(lambda *_: Gguf(), start=_is(GGUF)),
    _Format(lambda *_: tensors.torch_legacy(), start=TORCH_LEGACY, min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: tensors.hdf5(), start=_is(HDF5), min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: tensors.npy(), start=_is(NPY), min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: tensors.msgpack(), start=_MSGPACK, min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: Tar(), start=TAR, min_bytes=JOIN_BELOW_BYTES),
    # What another file describes. Smaller data is one piece, for which that file need not be read.
    _Format(OnnxData, onnx_data.SUFFIX, min_bytes=JOIN_BELOW_BYTES),
    _Format(TfData, TF_DATA, min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: Onnx(), start=_ONNX, min_bytes=JOIN_BELOW_BYTES),
    _Format(lambda *_: Chunks(), min_bytes=MIN_BYTES + 1),
    _Format(lambda *_: Opaque()),
)
"""The formats in the order in which they are tried. Zips and GGUF files have many suffixes."""


def cutters(name: str, nearby: Nearby | None = None) -> tuple[Cutter, ...]:
    """Return all cutters for a file `name`, in the order in which they are tried; the last one accepts every file."""
    return tuple(one.make(name, nearby) for one in _FORMATS)


def needs_nearby(name: str) -> bool:
    """Return whether a file with this name may be data that a file beside it describes."""
    return onnx_data.SUFFIX.search(name) is not None or TF_DATA.search(name) is not None


def may_describe(name: str) -> bool:
    """Return whether a file with this name may describe data beside it."""
    return name.lower().endswith((".onnx", INDEX))


def cut(source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Return the pieces of `source`, a file `name`; `nearby` returns other files of its package by path.

    The pieces are in file order and together cover every byte of `source` exactly once; none is longer than 16 MiB.
    """
    start = source.read(0, _START_BYTES)
    for one in _FORMATS:
        if source.size < one.min_bytes or not one.start.match(start) or not one.name.search(name):
            continue
        cutter = one.make(name, nearby)
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
