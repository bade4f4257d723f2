"""How a file is split into objects, so that equal tensors become equal objects (docs/formats/codecs.md).

`cut` asks each cutter whether it knows the file; one that does not understand what it finds says so, and the file is
cut as opaque slices: a file we do not understand is still a file we keep.
"""

from ptmtorrent.errors import IntegrityError
from ptmtorrent.store.cutters import opaque, safetensors
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

__all__ = [
    "CUTTERS",
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
    "needs_nearby",
    "slices",
]

CUTTERS: tuple[Cutter, ...] = (safetensors.Safetensors(), opaque.Opaque())
"""Asked in this order; the last one takes every file."""


def cut_as(cutter: str, source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Split `source` as a recipe says it was split."""
    raise IntegrityError(f"`{name}` was not cut by `{cutter}`")


def needs_nearby(name: str) -> bool:
    """Tell whether a file of this name might be cut by what another says."""
    return False


def cut(source: ByteSource, name: str, nearby: Nearby | None = None) -> Cut:
    """Split `source`, a file called `name`.

    The pieces are in file order and together cover every byte of `source` exactly once; none is longer than 16 MiB.
    """
    for cutter in CUTTERS:
        if not cutter.recognises(source, name):
            continue
        try:
            return Cut(cutter=cutter.name, pieces=cutter.cut(source))
        except NotMine:
            continue
    raise AssertionError("the opaque cutter takes every file")
