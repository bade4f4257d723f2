"""Keys identify pieces with the same numbers in two versions of a package.

A key is 32 hex characters; the base of a delta is looked up by it. Keys are compared but never stored, so they are not
part of any format. A tensor's key follows from its name, dtype and shape, whatever the file format.
"""

from collections.abc import Iterable

from blake3 import blake3


def tensor_key(name: str, dtype: str | None, shape: Iterable[int]) -> str:
    """Return the key of a tensor."""
    return _digest((name, dtype or "", *map(str, shape)))


def slice_key(key: str, number: int) -> str:
    """Return the key of slice `number` of a tensor that is longer than an object may be."""
    return _digest((key, str(number)))


def run_key(members: Iterable[str | None]) -> str | None:
    """Return the key of neighbours that were joined to one piece; None if any of them has no key."""
    named = tuple(members)
    return _digest(key for key in named if key is not None) if None not in named else None


def _digest(parts: Iterable[str]) -> str:
    whole = blake3()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(4, "little") + data)
    return whole.hexdigest(length=16)
