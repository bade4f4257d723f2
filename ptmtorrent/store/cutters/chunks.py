"""Content-defined chunks for files of unknown formats: chunks stay equal when an insertion moves them.

FastCDC as in the paper "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems"
(2020). The parameters never change; a test pins the cut points to detect a library that cuts elsewhere. Shorter files
are one opaque slice, and longer ones that cannot be chunked are slices of 16 MiB.
"""

from typing import Literal

from pyfastcdc import FastCDC

from ptmtorrent.store.cutters.port import ByteSource, NotThisFormat, Piece, slices

MIN_BYTES = 4 << 20
"""Shorter files are one object: a few chunks are not worth their rows."""

AVERAGE_BYTES = 1 << 20
SHORTEST_BYTES = 256 << 10
LONGEST_BYTES = 4 << 20
NORMALISATION: Literal[1] = 1
SEED = 0
_READ_BYTES = 1 << 20


class Chunks:
    """Chunks of 256 KiB to 4 MiB."""

    name = "chunks/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the chunks.

        Raises:
            NotThisFormat: the file is shorter than when it was opened.
        """
        chunker = FastCDC(
            AVERAGE_BYTES,
            min_size=SHORTEST_BYTES,
            max_size=LONGEST_BYTES,
            normalized_chunking=NORMALISATION,
            seed=SEED,
        )
        pieces = tuple(Piece(chunk.offset, chunk.length) for chunk in chunker.cut_stream(_Stream(source)))
        if sum(piece.length for piece in pieces) != source.size:
            raise NotThisFormat
        return pieces


class _Stream:
    """A source with the interface that the chunker reads from."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._at = 0

    def readinto(self, target: memoryview) -> int:
        """Read into the start of `target`; return the number of bytes, 0 at the end."""
        data = self._source.read(self._at, min(_READ_BYTES, len(target), self._source.size - self._at))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


class Opaque:
    """Accepts every file. An empty file has no pieces."""

    name = "opaque/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return slices at multiples of 16 MiB."""
        return tuple(slices(0, source.size))
