"""Reads the directory of a zip file in bounded memory, and checks it against the file.

::

    local header + name + extra | data | ... | central directory | [zip64 end | locator] | end of central directory

Source: PKWARE APPNOTE 6.3, sections 4.3.7 to 4.3.16 and 4.5.3. Readers disagree about bytes between or before these
parts; a file whose directory and end records are not adjacent, as shown, is refused.
"""

import struct
from collections.abc import Iterator

import msgspec

from ptmtorrent.model.containers.reading import Reader
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat

MAGIC = b"PK\x03\x04"
STORED = 0
MAX_DIRECTORY_BYTES = 16 << 20
MAX_NAME_BYTES = 4096
_MAX_COMMENT = 0xFFFF

_LOCAL = struct.Struct("<4s5HIIIHH")
_CENTRAL = struct.Struct("<4s6H3I5HII")
_END = struct.Struct("<4s4HIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_FIELD = struct.Struct("<HH")
_ZIP64 = 1
_ENCRYPTED = 1 << 0
_DESCRIPTOR = 1 << 3
_FULL16, _FULL32 = 0xFFFF, 0xFFFF_FFFF


class Member(msgspec.Struct, frozen=True, gc=False):
    """A file in the zip: the offset of its local header and its stored length. `plain` means stored and unencrypted."""

    name: bytes
    header: int
    length: int
    plain: bool


class Directory(msgspec.Struct, frozen=True):
    """The members sorted by offset, and the offset of the directory."""

    members: list[Member]
    start: int


class _Span(msgspec.Struct, frozen=True):
    start: int
    end: int
    count: int


def read_directory(source: ByteSource) -> Directory:
    """Return the directory.

    Raises:
        NotThisFormat: not a zip, or the directory contradicts itself or the file.
    """
    span = _find_directory(source)
    if span.count > MAX_NAMED or span.end - span.start > MAX_DIRECTORY_BYTES:
        raise NotThisFormat
    reader = Reader(source, span.start, span.end)
    members = sorted((_member(reader) for _ in range(span.count)), key=lambda member: member.header)
    if reader.at != span.end:
        raise NotThisFormat
    ends = [*(member.header for member in members[1:]), span.start]
    for member, end in zip(members, ends, strict=False):
        if member.header + _LOCAL.size + len(member.name) + member.length > end:
            raise NotThisFormat
    return Directory(members, span.start)


def data_of(source: ByteSource, member: Member) -> int:
    """Return the offset of the bytes of `member`.

    Raises:
        NotThisFormat: its local header contradicts the directory.
    """
    head = source.read(member.header, _LOCAL.size)
    if len(head) != _LOCAL.size:
        raise NotThisFormat
    magic, _, flags, method, _, _, _, packed, plain, name_bytes, extra_bytes = _LOCAL.unpack(head)
    rest = source.read(member.header + _LOCAL.size, name_bytes + extra_bytes)
    if magic != MAGIC or len(rest) != name_bytes + extra_bytes or rest[:name_bytes] != member.name:
        raise NotThisFormat
    plain, packed = _widen(rest[name_bytes:], plain, packed)
    if (method == STORED and not flags & _ENCRYPTED) != member.plain:
        raise NotThisFormat
    unknown_yet = flags & _DESCRIPTOR and packed in {0, _FULL32}
    if not unknown_yet and packed != member.length:
        raise NotThisFormat
    return member.header + _LOCAL.size + len(rest)


def _find_directory(source: ByteSource) -> _Span:
    tail_at = max(0, source.size - _END.size - _MAX_COMMENT)
    tail = source.read(tail_at, source.size - tail_at)
    for at in _ends(tail):
        _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, at)
        found = _Span(start, tail_at + at, count)
        if _FULL16 in {disk, here, count} or _FULL32 in {size, start} or _has_locator(tail, at):
            found = _find_zip64(source, tail_at + at)
        elif disk or first_disk or here != count or start + size != found.end:
            raise NotThisFormat
        return found
    raise NotThisFormat


def _ends(tail: bytes) -> Iterator[int]:
    """Yield the positions of end records whose comment ends with the file, the last one first."""
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail):
            comment = _END.unpack_from(tail, at)[-1]
            if at + _END.size + comment == len(tail):
                yield at
        at = tail.rfind(b"PK\x05\x06", 0, at)


def _has_locator(tail: bytes, at: int) -> bool:
    return tail[max(0, at - _LOCATOR.size) : at].startswith(b"PK\x06\x07")


def _find_zip64(source: ByteSource, end: int) -> _Span:
    locator_at = end - _LOCATOR.size
    if locator_at < 0:
        raise NotThisFormat
    magic, disk, record_at, disks = Reader(source, locator_at, end).fields(_LOCATOR)
    if magic != b"PK\x06\x07" or disk or disks > 1:
        raise NotThisFormat
    record = Reader(source, record_at, locator_at)
    magic, length, _, _, disk, first_disk, here, count, size, start = record.fields(_END64)
    if magic != b"PK\x06\x06" or record_at + 12 + length != locator_at or disk or first_disk:
        raise NotThisFormat
    if here != count or start + size != record_at:
        raise NotThisFormat
    return _Span(start, record_at, count)


def _member(reader: Reader) -> Member:
    fields = reader.fields(_CENTRAL)
    magic, _, _, flags, method, _, _, _, packed, plain = fields[:10]
    name_bytes, extra_bytes, comment_bytes, disk, _, _, header = fields[10:]
    if magic != b"PK\x01\x02" or name_bytes > MAX_NAME_BYTES or disk not in {0, _FULL16}:
        raise NotThisFormat
    name = reader.take(name_bytes)
    plain, packed, header = _widen(reader.take(extra_bytes), plain, packed, header)
    reader.skip(comment_bytes)
    is_plain = method == STORED and not flags & _ENCRYPTED
    if is_plain and plain != packed:
        raise NotThisFormat
    return Member(name, header, packed, is_plain)


def _widen(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return `values` with every 0xFFFFFFFF replaced by the next number of the zip64 field."""
    at = 0
    while _FULL32 in values and at + _FIELD.size <= len(extra):
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        if kind == _ZIP64:
            field = extra[at : at + length]
            numbers = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            return tuple(next(numbers, value) if value == _FULL32 else value for value in values)
        at += length
    return values
