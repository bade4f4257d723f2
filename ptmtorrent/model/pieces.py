"""Pieces: what a pack is padded to, which is the piece length of its torrents (docs/formats/pack.md).

::

    size of the file      alignment
    below 4 MiB           16 KiB
    below 64 MiB          256 KiB
    from 64 MiB           4 MiB

The alignment follows from the size of the padded file alone, so whatever knows a pack's size knows its pieces.
"""

ALIGNMENTS = (16 << 10, 256 << 10, 4 << 20)
"""The piece lengths of volumes, in bytes."""

THRESHOLDS = (4 << 20, 64 << 20)
"""The sizes of files from which on the second and the third alignment hold."""


def alignment_of(size: int) -> int:
    """Return the alignment of a pack whose file has `size` bytes: its pieces are that long."""
    return ALIGNMENTS[sum(size >= threshold for threshold in THRESHOLDS)]


def padded(length: int) -> int:
    """Return the size of the file of a pack of `length` bytes before padding: the smallest that is whole pieces."""
    alignment = alignment_of(length)
    return -(-length // alignment) * alignment


def is_whole(size: int) -> bool:
    """Return whether a file of `size` bytes is whole pieces, at least one."""
    return size > 0 and size % alignment_of(size) == 0


def pieces_in(size: int) -> int:
    """Return the number of pieces of a pack whose file has `size` bytes."""
    return size // alignment_of(size)
