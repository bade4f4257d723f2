"""How a file is split into objects, so that equal tensors become equal objects (docs/formats/codecs.md).

`cut` asks each cutter whether it knows the file; one that does not understand what it finds says so, and the file is
cut as opaque slices: a file we do not understand is still a file we keep.
"""

from ptmtorrent.store.cutters import opaque, safetensors
from ptmtorrent.store.cutters.port import ByteSource, Cut, Cutter, FileSource, MemorySource, NotMine, Piece, slices

__all__ = ["CUTTERS", "ByteSource", "Cut", "Cutter", "FileSource", "MemorySource", "NotMine", "Piece", "cut", "slices"]

CUTTERS: tuple[Cutter, ...] = (safetensors.Safetensors(), opaque.Opaque())
"""Asked in this order; the last one takes every file."""


def cut(source: ByteSource, name: str) -> Cut:
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
