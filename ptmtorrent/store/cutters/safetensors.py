"""Cuts a safetensors file at its tensors (`model/containers/safetensors.py`).

The tensors must cover the file from the end of the header to its end; others are not cut here.
"""

from ptmtorrent.model.containers.safetensors import Safetensors as Header
from ptmtorrent.store.cutters.port import ByteSource, NotThisFormat, Piece, cover, piece_of, slices


class Safetensors:
    """Pieces: `[8 + header]`, then the tensors in file order; small neighbours are joined."""

    name = "safetensors/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        header = Header(source)
        pieces = (piece_of(tensor) for tensor in header.tensors())
        tensors = sorted((piece for piece in pieces if piece.length), key=lambda piece: piece.offset)
        if sum(piece.length for piece in tensors) != source.size - header.start:  # `cover` refuses overlaps
            raise NotThisFormat
        return (*slices(0, header.start), *cover(tensors, header.start, source.size))
