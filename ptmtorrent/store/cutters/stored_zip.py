"""Cuts zips with stored (uncompressed) members, such as those of `numpy.savez`.

A member of 64 KiB or more is a piece; an array in numpy's format is two, its header and its numbers.

Source of numpy's format: `numpy.lib.format`, versions 1 to 3.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, tensor_key
from ptmtorrent.store.cutters.zip_directory import Member, cover_members, read_directory

_NUMPY = b"\x93NUMPY"
_MAX_HEADER_BYTES = 64 << 10
_FIXED_BYTES = 12

_DESCR = re.compile(rb"'descr': *'([<|=]?[a-zA-Z][0-9]+)'")
_SHAPE = re.compile(rb"'shape': *\(([0-9, ]{0,1024})\)")
_LENGTH = re.compile(rb"[0-9]+")

_DTYPES: Mapping[bytes, str] = MappingProxyType(
    {
        b"<f2": "F16",
        b"<f4": "F32",
        b"<f8": "F64",
        b"<c8": "C64",
        b"|b1": "BOOL",
        b"|i1": "I8",
        b"|u1": "U8",
        b"<i2": "I16",
        b"<u2": "U16",
        b"<i4": "I32",
        b"<u4": "U32",
        b"<i8": "I64",
        b"<u8": "U64",
    }
)
"""numpy writes the types of ml_dtypes as plain bytes (`|V2`), so these have no dtype here."""


class StoredZip:
    """Pieces: members and the gaps between them. Zips without a large stored member are not cut here."""

    name = "zip/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        directory = read_directory(source)
        if not any(member.plain and member.length >= JOIN_BELOW_BYTES for member in directory.members):
            raise NotThisFormat

        def describe(member: Member, at: int) -> list[Piece]:
            return _array(source, member, at) if member.plain else [_whole(member, at)]

        return tuple(cover_members(source, directory, describe))


def _whole(member: Member, at: int) -> Piece:
    name = member.name.decode("utf-8", "surrogateescape")
    return Piece(at, member.length, None, tensor_key(name, None, (member.length,)))


def _array(source: ByteSource, member: Member, at: int) -> list[Piece]:
    """Return numpy's header and the numbers as two pieces; a member that is not an array is one piece."""
    head = source.read(at, _FIXED_BYTES)
    if not head.startswith(_NUMPY) or len(head) < _FIXED_BYTES:
        return [_whole(member, at)]
    wide = head[6] > 1
    start = 12 + int.from_bytes(head[8:12], "little") if wide else 10 + int.from_bytes(head[8:10], "little")
    if start > min(_MAX_HEADER_BYTES, member.length):
        return [_whole(member, at)]
    header = source.read(at, start)
    descr, shape = _DESCR.search(header), _SHAPE.search(header)
    dtype = _DTYPES.get(descr[1]) if descr is not None else None
    lengths = [int(length) for length in _LENGTH.findall(shape[1])] if shape is not None else []
    numbers = member.length - start
    if dtype is None or numbers * 8 % BITS[dtype]:
        dtype = None
    name = member.name.decode("utf-8", "surrogateescape").removesuffix(".npy")
    return [Piece(at, start), Piece(at + start, numbers, dtype, tensor_key(name, dtype, lengths))]
