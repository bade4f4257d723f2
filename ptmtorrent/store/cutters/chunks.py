"""Cuts files that no parser knows where their content says so, so that what an insertion moves is still equal.

FastCDC as in the paper "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems"
(2020). The parameters are frozen; a test pins the cut points, so that a library that cuts elsewhere is noticed.
"""

from typing import Literal

from pyfastcdc import FastCDC

from ptmtorrent.store.cutters.port import ByteSource, NotMine, Piece

MIN_BYTES = 4 << 20
"""Shorter files are one object: their chunks would be too few to be worth their rows."""

AVERAGE_BYTES = 1 << 20
SHORTEST_BYTES = 256 << 10
LONGEST_BYTES = 4 << 20
NORMALISATION: Literal[1] = 1
SEED = 0
_READ_BYTES = 1 << 20


class Chunks:
    """Chunks of 256 KiB to 4 MiB."""

    name = "chunks/1"

    def recognises(self, source: ByteSource, name: str) -> bool:  # noqa: ARG002  # the port's signature
        """Take every file above 4 MiB."""
        return source.size > MIN_BYTES

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the chunks; a file that is shorter than it was when it was opened has none."""
        chunker = FastCDC(
            AVERAGE_BYTES,
            min_size=SHORTEST_BYTES,
            max_size=LONGEST_BYTES,
            normalized_chunking=NORMALISATION,
            seed=SEED,
        )
        pieces = tuple(Piece(chunk.offset, chunk.length) for chunk in chunker.cut_stream(_Stream(source)))
        if sum(piece.length for piece in pieces) != source.size:
            raise NotMine
        return pieces


class _Stream:
    """A source as the chunker reads it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._at = 0

    def readinto(self, target: memoryview) -> int:
        """Fill the front of `target`; return how many bytes, none at the end."""
        data = self._source.read(self._at, min(_READ_BYTES, len(target), self._source.size - self._at))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)
