"""Parses the header of a safetensors file.

::

    header length u64 | header JSON | tensors, one after another, without gaps
    {"__metadata__": {...}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}

Source: safetensors format, "Format" section. A file with anything that the format forbids, or that its readers disagree
about (duplicate keys, tensors that overlap, leave a gap or do not reach the end, sizes that do not follow from dtype
and shape), is refused. The header is parsed member by member with patterns that cannot backtrack: a parser that
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

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.source import (
    MAX_DIMENSIONS,
    MAX_NAMED,
    MAX_NUMBER,
    ByteSource,
    NotThisFormat,
    Tensor,
)

START = re.compile(rb"(?s)...[\x00\x01]\x00{4}\{")
"""A header of at most 16 MiB that begins with `{`."""

MAX_HEADER_BYTES = 16 << 20
"""Limit of a header. The library allows 100 MB; a tensor needs about 130 bytes, so this fits a hundred thousand."""

_LENGTH_BYTES = 8


class Safetensors:
    """The header of a safetensors file, which ends at `start`.

    Raises:
        NotThisFormat: the file has no header of at most 16 MiB.
    """

    def __init__(self, source: ByteSource) -> None:
        length = int.from_bytes(source.read(0, _LENGTH_BYTES), "little")
        self.start = _LENGTH_BYTES + length
        if length > MAX_HEADER_BYTES or self.start > source.size:
            raise NotThisFormat
        self._header = source.read(_LENGTH_BYTES, length)

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors in the order of the header; overlaps and gaps are not looked for.

        Raises:
            NotThisFormat: the header has anything that the format does not allow.
        """
        for count, (name, value) in enumerate(members(self._header)):
            if count >= MAX_NAMED:
                raise NotThisFormat
            yield _tensor(name, value, self.start)


def _tensor(name: str, value: object, start: int) -> Tensor:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            numbers = [begin, end, *shape]
        case _:
            raise NotThisFormat
    if not all(type(number) is int and 0 <= number < MAX_NUMBER for number in numbers):
        raise NotThisFormat
    bits = BITS.get(dtype, 0)
    if len(shape) > MAX_DIMENSIONS or begin > end or math.prod(shape) * bits != 8 * (end - begin):
        raise NotThisFormat
    if begin < end and begin % max(1, bits // 8):
        raise NotThisFormat
    return Tensor(name, sys.intern(dtype), tuple(shape), start + begin, end - begin)


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
