r"""The bytes of a run: the table of many packs, and the sorted ids in it (docs/formats/store-index.md).

::

    PTMINDX\n | H | header JSON | CRC-32 | segments | rows | delta rows | bases | fanout | heads | order | BLAKE3

Pure: what is here computes where each section lies. All sections are columns of fixed width, so that a file is used as
it lies on the disk.
"""

import struct
import zlib
from typing import ClassVar, Literal

import msgspec
import numpy as np

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical

MAGIC = b"PTMINDX\n"
MAX_HEADER_BYTES = 64 << 10
MAX_ROWS = (1 << 32) - 1
MAX_BITS = 20
HASH_BYTES = 32
ID_BYTES = 32

SEGMENT = np.dtype([("pack", "<u4"), ("first", "<u4")])
ROW = np.dtype(
    [
        ("id", "<u8", (4,)),
        ("at", "<u4"),
        ("stored", "<u4"),
        ("raw", "<u4"),
        ("codec", "u1"),
        ("kind", "u1"),
        ("zeros", "<u2"),
    ]
)
BASE = np.dtype(("<u8", (4,)))
HEAD = np.dtype("<u8")
NUMBER = np.dtype("<u4")

PACKED_ROW = struct.Struct("<32sIIIBBH")
_NUMBER = struct.Struct("<I")
_ALIGNMENT = 8

Section = Literal["segments", "rows", "delta_rows", "bases", "fanout", "heads", "order"]


class RunHeader(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The header of a run: how many entries each section has. `bits` is the width of the fanout."""

    FORMAT: ClassVar[str] = "ptmtorrent/store-index"

    segments: int
    rows: int
    deltas: int
    bits: int


class Layout(msgspec.Struct, frozen=True):
    """Where the sections of a run lie: the first byte of each and its number of entries; `end` is that of the hash."""

    starts: dict[Section, int]
    counts: dict[Section, int]
    end: int

    @property
    def size(self) -> int:
        """The size of the file."""
        return self.end + HASH_BYTES


DTYPES: dict[Section, np.dtype[np.void] | np.dtype[np.uint32] | np.dtype[np.uint64]] = {
    "segments": SEGMENT,
    "rows": ROW,
    "delta_rows": NUMBER,
    "bases": BASE,
    "fanout": NUMBER,
    "heads": HEAD,
    "order": NUMBER,
}
SECTIONS: tuple[Section, ...] = tuple(DTYPES)


def fanout_bits(rows: int) -> int:
    """Return the width of the fanout for a number of rows: 16 to 32 rows share an entry, up to 2^20 entries."""
    return max(0, min(MAX_BITS, rows.bit_length() - 5))


def make_header(segments: int, rows: int, deltas: int) -> RunHeader:
    """Return the header of a run with these numbers of entries."""
    return RunHeader(
        format=RunHeader.FORMAT,
        version=RunHeader.VERSION,
        requires=(),
        segments=segments,
        rows=rows,
        deltas=deltas,
        bits=fanout_bits(rows),
    )


def encode_header(header: RunHeader) -> bytes:
    """Return the first bytes of a run, up to its first section."""
    data = canonical.encode(header)
    head = MAGIC + _NUMBER.pack(len(data)) + data
    head += _NUMBER.pack(zlib.crc32(head))
    return head + bytes(-len(head) % _ALIGNMENT)


def decode_header(data: bytes, size: int, name: str) -> Layout:
    """Return the layout of the run of `size` bytes that starts with `data`.

    Raises:
        IntegrityError: not a run, damaged, or cut short.
        UnsupportedFormat: written by another version.
    """
    start = len(MAGIC) + _NUMBER.size
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    end = start + length
    if not data.startswith(MAGIC) or length > MAX_HEADER_BYTES or end + _NUMBER.size > len(data):
        raise IntegrityError(f"`{name}` is no file of an index, or was cut short")
    if data[end : end + _NUMBER.size] != _NUMBER.pack(zlib.crc32(data[:end])):
        raise IntegrityError(f"the header of `{name}` is damaged")
    header = canonical.decode(data[start:end], RunHeader, name=name)
    numbers = (header.segments, header.rows, header.deltas)
    if not all(0 <= number <= MAX_ROWS for number in numbers) or not 0 <= header.bits <= MAX_BITS:
        raise IntegrityError(f"the header of `{name}` states impossible numbers")
    layout = layout_of(header)
    if layout.size != size:
        raise IntegrityError(f"`{name}` has {size} bytes instead of {layout.size}: it was cut short or damaged")
    return layout


def layout_of(header: RunHeader) -> Layout:
    """Return where the sections of a run lie."""
    fanout = (1 << header.bits) + 1
    entries = (header.segments, header.rows, header.deltas, header.deltas, fanout, header.rows, header.rows)
    counts = dict(zip(SECTIONS, entries, strict=True))
    at, starts = len(encode_header(header)), dict[Section, int]()
    for section, number in counts.items():
        starts[section] = at
        at += DTYPES[section].itemsize * number
        at += -at % _ALIGNMENT
    return Layout(starts, counts, at)
