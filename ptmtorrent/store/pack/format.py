r"""The bytes of a pack: header, records, footer, trailer (docs/formats/pack.md). Pure: bytes in, bytes out.

::

    PTMPACK\n | H | header JSON | record ... record | footer | trailer | zeros to whole pieces

Packs of different classes never mix, so that a subset reads few packs and a takedown changes few.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, NamedTuple, overload

import msgspec

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.codecs import DELTA_CODECS, MAX_RAW_BYTES, PLAIN_CODECS

MAGIC = b"PTMPACK\n"
RECORD_MAGIC = b"PTMo"
FOOTER_MAGIC = b"PTMF"
TRAILER_MAGIC = b"PTME"
MAX_HEADER_BYTES = 64 << 10
RECORD_BYTES = 52
"""Bytes of a record before the stored bytes, without a base."""

MAX_RECORD_BYTES = 84
ROW_BYTES = 88
TRAILER_BYTES = 20
_NO_BASE = bytes(32)
_ROW_END = bytes(6)
_ZEROS = bytes(64 << 10)
_HAS_BASE = 1

_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<4sBBHII32s")
_ROW = struct.Struct("<32s32sQIIBB6s")
_TRAILER = struct.Struct("<QII4s")


Temper = Literal["meta", "weights-hot", "weights-cold", "alone"]
"""`meta` has manifests, captures, hub answers and small files. Weights are divided by their popularity.

`alone` has whole forms of objects that other packs store as deltas.
"""

ALONE: Temper = "alone"
"""The class of whole forms of objects that other packs store as deltas."""

TEMPERS: tuple[Temper, ...] = ("meta", "weights-hot", "weights-cold", "alone")
RIGHTS: tuple[Rights, ...] = ("open", "restricted", "gated")

ObjectKind = Literal["data", "manifest", "capture", "answer"]
"""The kind of an object, by which an index is rebuilt from packs alone."""

OBJECT_KINDS: tuple[ObjectKind, ...] = ("data", "manifest", "capture", "answer")
"""In the order of their codes in a record: 0 data, 1 manifest, 2 capture, 3 hub answer."""


class PackClass(msgspec.Struct, frozen=True, order=True):
    """The class of a pack, chosen when an object is captured."""

    temper: Temper
    rights: Rights

    @property
    def name(self) -> str:
        """The name of the class in file names, such as `weights-hot-open`."""
        return f"{self.temper}-{self.rights}"


PACK_CLASSES: tuple[PackClass, ...] = tuple(PackClass(temper, rights) for temper in TEMPERS for rights in RIGHTS)


class PackHeader(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The header of a pack."""

    FORMAT: ClassVar[str] = "ptmtorrent/pack"
    VERSION: ClassVar[int] = 2
    OLDER: ClassVar[str] = canonical.OLDER_STORE

    temper: Temper = msgspec.field(name="class")
    rights: Rights


class PackInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of libraries and settings of codecs at the time of writing. No reader depends on it."""

    libraries: dict[str, str]
    parameters: dict[str, str]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object in a pack: `offset` is that of its stored bytes; lengths are in bytes."""

    id: ObjectId
    offset: int
    stored: int
    raw: int
    codec: int
    kind: ObjectKind
    base: ObjectId | None = None

    @property
    def end(self) -> int:
        """The first byte after the stored bytes."""
        return self.offset + self.stored


class EntryTable(Sequence[Entry]):
    """The objects of a part that is written, as rows of its footer: a part may have a million of them."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._rows = bytearray()
        for entry in entries:
            self.append(entry)

    @property
    def rows(self) -> bytes:
        """The rows as a footer has them."""
        return bytes(self._rows)

    def append(self, entry: Entry) -> None:
        """Add an object."""
        self._rows += _encode_row(entry)

    def append_record(self, record: "Record", at: int) -> None:
        """Add the object whose `record` begins at byte `at` of the part."""
        self._rows += _ROW.pack(
            record.id,
            record.base or _NO_BASE,
            at + record.head,
            record.stored,
            record.raw,
            record.codec,
            record.kind,
            _ROW_END,
        )

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self._rows) // ROW_BYTES

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        """Return an object, or several."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        identifier, base, offset, stored, raw, codec, kind, _ = _ROW.unpack_from(self._rows, at * ROW_BYTES)
        return Entry(
            id=ObjectId(identifier.hex()),
            offset=offset,
            stored=stored,
            raw=raw,
            codec=codec,
            kind=OBJECT_KINDS[kind],
            base=None if base == _NO_BASE else ObjectId(base.hex()),
        )


class Record(NamedTuple):
    """A record, without its place: `head` are its bytes before the stored ones; `base` is empty without one."""

    id: bytes
    base: bytes
    head: int
    stored: int
    raw: int
    codec: int
    kind: int


def encode_header(pack_class: PackClass) -> bytes:
    """Return the first bytes of a pack."""
    header = PackHeader(
        format=PackHeader.FORMAT,
        version=PackHeader.VERSION,
        requires=(),
        temper=pack_class.temper,
        rights=pack_class.rights,
    )
    data = canonical.encode(header)
    return MAGIC + _LENGTH.pack(len(data)) + data


def decode_header(data: bytes, name: str) -> tuple[PackClass, int]:
    """Return the class of the pack that starts with `data`, and the offset of its first record.

    Raises:
        IntegrityError: not a pack, or a damaged header.
        UnsupportedFormat: written by another version.
    """
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _LENGTH.size:
        raise IntegrityError(f"`{name}` is not a pack")
    start = len(MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack(data[len(MAGIC) : start])
    if length > MAX_HEADER_BYTES or start + length > len(data):
        raise IntegrityError(f"the header of the pack `{name}` is damaged")
    header = canonical.decode(data[start : start + length], PackHeader, name=f"header of {name}")
    return PackClass(header.temper, header.rights), start + length


def encode_record(entry: Entry) -> bytes:
    """Return the bytes that precede the stored bytes of `entry`; its offset does not matter."""
    flags = _HAS_BASE if entry.base else 0
    kind = OBJECT_KINDS.index(entry.kind)
    head = _RECORD.pack(
        RECORD_MAGIC, entry.codec, kind, flags, entry.raw, entry.stored, bytes.fromhex(entry.id)
    ) + bytes.fromhex(entry.base or "")
    return head + _LENGTH.pack(zlib.crc32(head))


def decode_record(data: bytes, at: int) -> Entry | None:
    """Return the object whose record starts with `data`, at byte `at` of the pack; None if there is no whole record."""
    record = read_record(data)
    if record is None:
        return None
    return Entry(
        id=ObjectId(record.id.hex()),
        offset=at + record.head,
        stored=record.stored,
        raw=record.raw,
        codec=record.codec,
        kind=OBJECT_KINDS[record.kind],
        base=ObjectId(record.base.hex()) if record.base else None,
    )


def read_record(data: bytes, start: int = 0) -> Record | None:
    """Return the record at byte `start` of `data`; None if there is no whole and valid one."""
    if len(data) - start < RECORD_BYTES or not data.startswith(RECORD_MAGIC, start):
        return None
    _, codec, kind, flags, raw, stored, identifier = _RECORD.unpack_from(data, start)
    end = start + _RECORD.size + (32 if flags & _HAS_BASE else 0)
    head = data[start:end]
    if data[end : end + _LENGTH.size] != _LENGTH.pack(zlib.crc32(head)):
        return None
    if flags & ~_HAS_BASE or kind >= len(OBJECT_KINDS) or raw > MAX_RAW_BYTES or stored > raw:
        return None
    if not _may_be(codec, has_base=bool(flags)):
        return None
    return Record(identifier, head[_RECORD.size :], end - start + _LENGTH.size, stored, raw, codec, kind)


def encode_footer(entries: Iterable[Entry], info: PackInfo, offset: int) -> bytes:
    """Return footer and trailer of a pack whose records end at `offset`."""
    rows = entries.rows if isinstance(entries, EntryTable) else b"".join(map(_encode_row, entries))
    tree = {"libraries": info.libraries, "objects": len(rows) // ROW_BYTES, "parameters": info.parameters}
    data = canonical.encode(tree)
    footer = b"".join([FOOTER_MAGIC, _LENGTH.pack(len(data)), data, rows])
    return footer + _TRAILER.pack(offset, len(footer), zlib.crc32(footer), TRAILER_MAGIC)


def strip_padding(data: bytes) -> bytes:
    """Return `data` without the zeros at its end. Blocks of them are compared: `rstrip` takes 40 times as long."""
    end = len(data)
    while data.endswith(_ZEROS, 0, end):
        end -= len(_ZEROS)
    return data[:end].rstrip(b"\0")


def decode_trailer(end: bytes, size: int, name: str) -> tuple[int, int, int]:
    """Return offset, length and CRC-32 of the footer, from the last bytes of a pack of `size` bytes.

    Raises:
        IntegrityError: there is no trailer, or it points outside the pack.
    """
    trailer = strip_padding(end)[-TRAILER_BYTES:]
    if len(trailer) != TRAILER_BYTES or not trailer.endswith(TRAILER_MAGIC):
        raise IntegrityError(f"the pack `{name}` has no trailer: it was cut short or damaged")
    offset, length, checksum, _ = _TRAILER.unpack(trailer)
    if offset + length + TRAILER_BYTES > size:
        raise IntegrityError(f"the trailer of the pack `{name}` is damaged")
    return offset, length, checksum


def decode_footer(footer: bytes, checksum: int, offset: int, name: str) -> tuple[Entry, ...]:
    """Return the objects that a footer lists, all within the `offset` bytes before it.

    Raises:
        IntegrityError: damaged, or a row that leaves the pack.
    """
    if zlib.crc32(footer) != checksum or not footer.startswith(FOOTER_MAGIC) or len(footer) < 8:
        raise IntegrityError(f"the footer of the pack `{name}` is damaged")
    (length,) = _LENGTH.unpack(footer[4:8])
    rows = memoryview(footer)[8 + length :]
    if 8 + length > len(footer) or len(rows) % ROW_BYTES:
        raise IntegrityError(f"the footer of the pack `{name}` is damaged")
    if len(rows) // ROW_BYTES * RECORD_BYTES > offset:
        raise IntegrityError(f"the footer of the pack `{name}` lists more objects than fit before it")
    return tuple(_decode_row(fields, offset, name) for fields in _ROW.iter_unpack(rows))


def _may_be(codec: int, *, has_base: bool) -> bool:
    """Return whether an object of `codec` may have a base, or none; unknown for codecs of newer versions."""
    return codec not in (PLAIN_CODECS if has_base else DELTA_CODECS)


def _encode_row(entry: Entry) -> bytes:
    base = bytes.fromhex(entry.base) if entry.base else _NO_BASE
    kind = OBJECT_KINDS.index(entry.kind)
    return _ROW.pack(bytes.fromhex(entry.id), base, entry.offset, entry.stored, entry.raw, entry.codec, kind, _ROW_END)


def _decode_row(fields: tuple[bytes, bytes, int, int, int, int, int, bytes], limit: int, name: str) -> Entry:
    identifier, base, offset, stored, raw, codec, kind, zeros = fields
    if kind >= len(OBJECT_KINDS) or any(zeros):
        raise UnsupportedFormat(
            f"the pack `{name}` has a kind of object this program does not know",
            hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
        )
    if stored > raw or raw > MAX_RAW_BYTES or offset + stored > limit:
        raise IntegrityError(f"the footer of the pack `{name}` names bytes outside of it")
    if not _may_be(codec, has_base=base != _NO_BASE):
        raise IntegrityError(f"the footer of the pack `{name}` has a delta without a base, or a base without a delta")
    return Entry(
        id=ObjectId(identifier.hex()),
        offset=offset,
        stored=stored,
        raw=raw,
        codec=codec,
        kind=OBJECT_KINDS[kind],
        base=None if base == _NO_BASE else ObjectId(base.hex()),
    )
