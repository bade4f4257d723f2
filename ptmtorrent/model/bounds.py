"""The one way to decode JSON from outside: the memory its values would take is estimated from the bytes beforehand.

A document of 6 kB, decompressed, can hold 22 million empty lists, which take 11 GB as values. One scan that counts the
marks of JSON bounds all of them: commas (values), brackets and braces (containers), colons (members), quotes (texts)::

    {"a":[[],[]]}    3 containers, 1 comma, 1 colon, 2 quotes

Marks inside texts are counted too, so the estimate is never too low, and a little high for prose.
"""

import re
from typing import Any, TypeVar, overload

import msgspec

from ptmtorrent.model.text import spell_size

MAX_MEMORY_BYTES = 64 << 20
"""Limit of the memory for one document (64 MiB): its bytes, its values, and its bytes encoded again."""

MAX_ANSWER_MEMORY_BYTES = 36 << 20
"""Limit of the memory for one answer of a hub or file of a package (36 MiB): what is taken from it is copied."""

_COPIES = 3
"""The bytes of a document, its texts as values, and the encoding it is compared with."""

_MARKS: tuple[tuple[bytes, int], ...] = ((b",", 48), (b"[", 160), (b"{", 100), (b":", 110), (b'"', 20))
"""Bytes of memory for each mark, measured with msgspec on CPython 3.11 to 3.14, as a tree and as structs or tuples."""

_WIDE = re.compile(rb"[\x80-\xff]|\\u")
_WIDE_BYTES = 5
"""Bytes for each byte of a text that is not ASCII: four as characters, one as the UTF-8 that Python keeps of it."""

SAFE_BYTES = MAX_MEMORY_BYTES // (_COPIES + max(weight for _, weight in _MARKS) + _WIDE_BYTES)
"""A document of this size is within `MAX_MEMORY_BYTES` whatever it holds (about 400 kB)."""

T = TypeVar("T")


class TooManyParts(ValueError):
    """A document whose values would take more memory than any document may."""


def json_memory(data: bytes, limit: int = MAX_MEMORY_BYTES) -> int:
    """Return an estimate of the bytes of memory that the JSON in `data` takes when it is decoded.

    It is never too low up to `limit`; what exceeds that is not counted to its end.
    """
    narrow = len(data) * _COPIES + sum(data.count(mark) * weight for mark, weight in _MARKS)
    return narrow if narrow > limit else narrow + _WIDE_BYTES * _wide_bytes(data)


def check_json(data: bytes, limit: int = MAX_MEMORY_BYTES) -> None:
    """Refuse JSON whose values would take more than `limit` bytes of memory.

    Raises:
        TooManyParts: a `ValueError`, as for any other JSON that cannot be read.
    """
    if (needed := json_memory(data, limit)) > limit:
        raise TooManyParts(
            f"its {spell_size(len(data))} hold parts that would take {spell_size(needed)} of memory, "
            f"over the limit of {spell_size(limit)}"
        )


@overload
def decode_json(data: bytes | str) -> Any: ...  # noqa: ANN401  # any JSON value
@overload
def decode_json(data: bytes | str, kind: type[T]) -> T: ...
def decode_json(data: bytes | str, kind: Any = Any) -> Any:
    """Return the value of the JSON in `data`, decoded as `kind`: an answer of a hub, or a file of a package.

    Raises:
        ValueError: too many parts, not JSON (`msgspec.DecodeError`), or not of that kind.
        RecursionError: nested too deep.
    """
    check_json(data.encode(errors="surrogatepass") if isinstance(data, str) else data, MAX_ANSWER_MEMORY_BYTES)
    return msgspec.json.decode(data, type=kind)


def _wide_bytes(data: bytes) -> int:
    """Return the length of the texts that hold a character beyond ASCII, or an escape of one."""
    if data.isascii() and b"\\u" not in data:
        return 0
    total = end = 0
    while found := _WIDE.search(data, end):
        start = max(end, data.rfind(b'"', end, found.start()))
        end = data.find(b'"', found.end())
        end = len(data) if end < 0 else end
        total += end - start
    return total
