"""Cuts a safetensors file at its tensors.

::

    header length u64 | header JSON | tensors, one after another, without gaps
    {"__metadata__": {...}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}

Source: safetensors format, "Format" section. A file with anything that the format forbids, or that its readers disagree
about (duplicate keys, tensors that overlap, leave a gap or do not reach the end, sizes that do not follow from dtype
and shape), is not cut here. The header is parsed member by member with patterns that cannot backtrack: a parser that
builds the tree needs 25 times the size of the header.
"""

import codecs
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from blake3 import blake3

from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.port import MAX_NAMED, ByteSource, NotThisFormat, Piece, cover, slices, tensor_key

MAX_HEADER_BYTES = 16 << 20
"""Limit of a header. The library allows 100 MB; a tensor needs about 130 bytes, so this fits a hundred thousand."""

MAX_DIMENSIONS = 64
_MAX_NUMBER = 1 << 62
_LENGTH_BYTES = 8


class Safetensors:
    """Pieces: `[8 + header]`, then the tensors in file order; small neighbours are joined."""

    name = "safetensors/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the header, then the tensors."""
        length = int.from_bytes(source.read(0, _LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + length
        if length > MAX_HEADER_BYTES or start > source.size:
            raise NotThisFormat
        tensors = _tensors(source.read(_LENGTH_BYTES, length), start)
        if sum(tensor.length for tensor in tensors) != source.size - start:  # `cover` refuses overlaps
            raise NotThisFormat
        return (*slices(0, start), *cover(tensors, start, source.size))


def _tensors(header: bytes, start: int) -> list[Piece]:
    """Return the non-empty tensors in file order; their data begins at `start`."""
    tensors = []
    for count, (name, value) in enumerate(members(header)):
        if count >= MAX_NAMED:
            raise NotThisFormat
        tensor = _tensor(name, value, start)
        if tensor.length:
            tensors.append(tensor)
    return sorted(tensors, key=lambda tensor: tensor.offset)


def _tensor(name: str, value: object, start: int) -> Piece:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [begin, end, *shape]
        case _:
            raise NotThisFormat
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in numbers):
        raise NotThisFormat
    bits = BITS.get(dtype, 0)
    if len(shape) > MAX_DIMENSIONS or begin > end or math.prod(shape) * bits != 8 * (end - begin):
        raise NotThisFormat
    if begin < end and begin % max(1, bits // 8):
        raise NotThisFormat
    return Piece(start + begin, end - begin, sys.intern(dtype), tensor_key(name, dtype, shape))


METADATA = "__metadata__"
MAX_NAME_BYTES = 64 << 10
MAX_ENTRY_BYTES = 8 << 10
MAX_METADATA = 100_000
_WINDOW_BYTES = 1 << 20

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_FLAT = re.compile(rb"\{[^{}]*+\}")


def members(header: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the names and entries of the tensors, in the order of the header.

    Raises:
        NotThisFormat: the header is not UTF-8 or not a JSON object, has duplicate keys, or has values that are neither
            tensors nor metadata strings.
    """
    _check_utf8(header)
    walk = _Walk(header)
    for name in walk.members():
        if name == METADATA:
            for count, _ in enumerate(walk.members()):
                walk.skip(_STRING)
                if count >= MAX_METADATA:
                    raise NotThisFormat
        else:
            yield name, _parse(walk.skip(_FLAT, MAX_ENTRY_BYTES))
    walk.end()


class _Walk:
    """A cursor in a header."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._at = 0

    def members(self) -> Iterator[str]:
        """Yield the names in the object that starts here; the caller must skip a value before the next name."""
        seen: set[bytes] = set()
        self._expect(b"{")
        if self._next() == b"}":
            self._at += 1
            return
        while True:
            name = _parse(self.skip(_STRING, MAX_NAME_BYTES))
            digest = blake3(name.encode("utf-8", "surrogatepass")).digest(length=16)
            if digest in seen:
                raise NotThisFormat
            seen.add(digest)
            self._expect(b":")
            yield name
            if self._next() == b"}":
                self._at += 1
                return
            self._expect(b",")

    def skip(self, pattern: re.Pattern[bytes], limit: int | None = None) -> bytes:
        """Advance past a match of `pattern`; return it if a `limit` for its length is given, else nothing."""
        self._next()
        found = pattern.match(self._header, self._at)
        if found is None or (limit is not None and found.end() - self._at > limit):
            raise NotThisFormat
        self._at = found.end()
        return b"" if limit is None else found[0]

    def end(self) -> None:
        """Check that nothing follows."""
        if self._next():
            raise NotThisFormat

    def _next(self) -> bytes:
        space = _SPACE.match(self._header, self._at)
        if space is not None:
            self._at = space.end()
        return self._header[self._at : self._at + 1]

    def _expect(self, mark: bytes) -> None:
        if self._next() != mark:
            raise NotThisFormat
        self._at += 1


def _check_utf8(header: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(header), _WINDOW_BYTES):
            decoder.decode(header[start : start + _WINDOW_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise NotThisFormat from error


def _refuse(_: str) -> NoReturn:
    raise NotThisFormat


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise NotThisFormat
    return tree


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_float=_refuse, parse_constant=_refuse)


def _parse(data: bytes) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise NotThisFormat from error
