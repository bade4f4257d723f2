"""Names for pieces that hold the same numbers in two versions of a package.

A key is 32 hex characters: what a delta's base is looked up by. Keys are compared, never stored, so they are no format.
Those of a tensor follow from its name, dtype and shape, in whatever format it lies.
"""

from collections.abc import Iterable

from blake3 import blake3


def tensor_key(name: str, dtype: str | None, shape: Iterable[int]) -> str:
    """Name a tensor."""
    return _digest((name, dtype or "", *map(str, shape)))


def slice_key(key: str, number: int) -> str:
    """Name the slice `number` of a tensor that is longer than an object may be."""
    return _digest((key, str(number)))


def run_key(members: Iterable[str | None]) -> str | None:
    """Name a run of neighbours that became one piece; None when one of them has no name."""
    named = tuple(members)
    return _digest(key for key in named if key is not None) if None not in named else None


def _digest(parts: Iterable[str]) -> str:
    whole = blake3()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        whole.update(len(data).to_bytes(4, "little") + data)
    return whole.hexdigest(length=16)
