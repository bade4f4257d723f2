"""Reads the fields of a short protobuf message in memory.

Source: protobuf's "Encoding" page.
"""

from collections.abc import Iterator

from ptmtorrent.model.containers.source import NotThisFormat

MAX_FIELDS = 100_000
_MAX_VARINT_BYTES = 10
_VARINT, _BYTES = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: a number, or bytes.

    Raises:
        NotThisFormat: malformed, or more than 100,000 fields.
    """
    at = 0
    for _ in range(MAX_FIELDS):
        if at == len(data):
            return
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = read_varint(data, at)
        elif wire in _FIXED_BYTES:
            length = _FIXED_BYTES[wire]
        else:
            raise NotThisFormat
        if at + length > len(data):
            raise NotThisFormat
        part = data[at : at + length]
        yield number, part if wire == _BYTES else int.from_bytes(part, "little")
        at += length
    raise NotThisFormat


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and the position behind it.

    Raises:
        NotThisFormat: it does not end within `data`, or is longer than 10 bytes.
    """
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if at >= len(data):
            raise NotThisFormat
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise NotThisFormat
