"""Bencoding, the encoding of torrents (BEP 3): every value has exactly one encoding.

Four kinds of value and nothing else::

    3            i3e
    b"spam"      4:spam
    [1, b"a"]    li1e1:ae
    {b"a": 1}    d1:ai1ee        keys are bytes, sorted, each once

Only that encoding is accepted, so that a hash of the bytes is a hash of the value.
"""

from typing import TypeAlias

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.text import spell_size

MAX_BYTES = 16 << 20
"""Limit of a torrent (16 MiB); the two of a full volume (1 TiB) are about 5 MB and 9 MB."""

MAX_VALUES = 250_000
"""Limit of values in a torrent, keys included; the v2 torrent of a full volume has 60,000."""

MAX_DEPTH = 32
"""Limit of nesting, which protects Python's stack; our torrents are six levels deep."""

_MAX_DIGITS = 20

Value: TypeAlias = int | bytes | list["Value"] | dict[bytes, "Value"]


def encode(value: Value) -> bytes:
    """Return the encoding of `value`, keys sorted by their bytes. Raises `TypeError` for any other type, even `str`."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def decode(data: bytes, *, name: str) -> Value:
    """Return the value of all of `data`; `name` is the file as shown in errors.

    Raises:
        IntegrityError: not bencoded, not in the canonical encoding, too deep, too many values, or over 16 MiB.
    """
    if len(data) > MAX_BYTES:
        raise IntegrityError(f"`{name}` is {spell_size(len(data))}, over the limit of {spell_size(MAX_BYTES)}")
    try:
        value, end = _Walk(data).read(0, MAX_DEPTH)
    except (ValueError, IndexError) as error:
        raise IntegrityError(f"`{name}` is not bencoded: {error}") from error
    if end != len(data):
        raise IntegrityError(f"`{name}` has data after its end, at byte {end}")
    return value


def _write(value: Value, parts: list[bytes]) -> None:
    if isinstance(value, bytes):
        parts += (b"%d:" % len(value), value)
    elif isinstance(value, int) and not isinstance(value, bool):
        parts.append(b"i%de" % value)
    elif isinstance(value, list):
        parts.append(b"l")
        for item in value:
            _write(item, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            _write(key, parts)
            _write(value[key], parts)
        parts.append(b"e")
    else:
        raise TypeError(f"{type(value).__name__} has no bencoding")


class _Walk:
    """Reads values from `data` at given positions, and counts them before each is built."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._values = 0

    def read(self, at: int, depth: int) -> tuple[Value, int]:
        """Return the value at `at`, nested at most `depth` deep, and the position after it. Raises `ValueError`."""
        if depth == 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH} at byte {at}")
        self._count()
        kind = self._data[at : at + 1]
        if kind == b"i":
            return _read_number(self._data, at + 1, b"e")
        if kind == b"l":
            return self._list(at + 1, depth - 1)
        if kind == b"d":
            return self._dict(at + 1, depth - 1)
        return _read_bytes(self._data, at)

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")

    def _list(self, at: int, depth: int) -> tuple[list[Value], int]:
        items: list[Value] = []
        while self._data[at] != ord("e"):
            item, at = self.read(at, depth)
            items.append(item)
        return items, at + 1

    def _dict(self, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
        items: dict[bytes, Value] = {}
        last: bytes | None = None
        while self._data[at] != ord("e"):
            self._count()
            key, value_at = _read_bytes(self._data, at)
            if last is not None and key <= last:
                raise ValueError(f"the key at byte {at} is out of order")
            items[key], at = self.read(value_at, depth)
            last = key
        return items, at + 1


def _read_number(data: bytes, at: int, stop: bytes) -> tuple[int, int]:
    end = data.find(stop, at, at + _MAX_DIGITS + 2)
    digits = data[at:end] if end >= 0 else b""
    if not digits.removeprefix(b"-").isdigit() or b"%d" % int(digits) != digits:
        raise ValueError(f"not a number at byte {at}")
    return int(digits), end + 1


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, start = _read_number(data, at, b":")
    if not 0 <= length <= len(data) - start:
        raise ValueError(f"the string at byte {at} extends beyond the end of the file")
    return data[start : start + length], start + length
