"""Cuts a GGUF file at its tensors (`model/containers/gguf.py`).

Large values in the header (a tokenizer's words and merges) are pieces too: all quantisations of a model share them.
"""

from ptmtorrent.model.containers.gguf import Gguf as Header
from ptmtorrent.model.containers.gguf import aligned
from ptmtorrent.store.cutters.port import ByteSource, NotThisFormat, Piece, cover, piece_of


class Gguf:
    """Pieces: the header with its large values, then the tensors in file order; small neighbours are joined."""

    name = "gguf/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        header = Header(source)
        pieces = (piece_of(tensor) for tensor in header.tensors())
        tensors = sorted((piece for piece in pieces if piece.length), key=lambda piece: piece.offset)
        _check_cover(tensors, header.start, source.size, header.alignment)
        values = [Piece(offset, length) for offset, length in header.values]
        return (*cover(values, 0, header.start), *cover(tensors, header.start, source.size))


def _check_cover(tensors: list[Piece], start: int, end: int, alignment: int) -> None:
    """Check that only padding separates the tensors; the padding of the last one may be missing."""
    at = last = start
    for tensor in tensors:
        if tensor.offset != at:
            raise NotThisFormat
        last = tensor.offset + tensor.length
        at = start + aligned(last - start, alignment)
    if not last <= end <= at:
        raise NotThisFormat
