"""Which objects are referenced, and by which owner: in sorted columns, or on disk once they are many.

An object has no owner, one, or several (`SHARED`). Owners are numbers that the caller chooses, usually one a package.
"""

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ptmtorrent.disk.database import SqliteError, connect_temporary, is_full
from ptmtorrent.errors import NoSpace, StoreError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.index.run_writer import heads_of
from ptmtorrent.store.pack.columns import Ids, as_ids, ids_of

Owners = npt.NDArray[np.int64]

CACHE_BYTES = 32 << 20
"""Default for the bytes of references that stay in memory (32 MiB): those of 800,000 objects."""

_ROW_BYTES = 40
_BATCH = 500
SHARED = -1
"""The owner of objects that several owners reference."""

NONE = -2
"""What `owners` says of objects without an owner."""


class References:
    """An open table of references. Not thread-safe."""

    def __init__(self, cache: int = CACHE_BYTES) -> None:
        """`cache` are the bytes that the references may have in memory; beyond them they are on disk."""
        self._rows = max(1, cache // _ROW_BYTES)
        self._ids, self._owners = bytearray(), array("q")
        self._heads: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._sorted: tuple[Ids, Owners] = np.empty((0, 4), dtype=np.uint64), np.empty(0, dtype=np.int64)
        self._is_on_disk = False
        with _errors():
            self._connection = connect_temporary()
            self._connection.execute(f"PRAGMA cache_size = {-(cache >> 10)}")
            self._connection.execute("CREATE TABLE refs (id BLOB PRIMARY KEY, owner INTEGER NOT NULL) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, owner: int, identifiers: Iterable[ObjectId]) -> None:
        """Record that `owner` references these objects."""
        ids = bytes.fromhex("".join(identifiers))
        self._ids += ids
        self._owners.extend([owner] * (len(ids) // 32))
        if len(self._owners) + len(self._heads) > self._rows:
            self._merge()
            if self._is_on_disk or len(self._heads) > self._rows // 2:
                self._move_to_disk()

    def owner(self, identifier: ObjectId) -> int | None:
        """Return the owner of an object: `SHARED` if there are several, None if there is none."""
        (found,) = self.owners(ids_of([identifier])).tolist()
        return None if found == NONE else int(found)

    def owners(self, ids: Ids) -> Owners:
        """Return the owners of objects as `owner` does, `NONE` for those without one."""
        self._merge()
        if self._is_on_disk:
            self._move_to_disk()
            return self._owners_on_disk(ids)
        found = np.full(len(ids), NONE, dtype=np.int64)
        known, owners = self._sorted
        if not len(known):
            return found
        at = np.searchsorted(self._heads, heads_of(ids))
        left = np.arange(len(ids))
        while len(left):  # once, but for ids that begin with the same 8 bytes
            inside = at[left] < len(known)
            left = left[inside]
            left = left[self._heads[at[left]] == ids[left, 0].view(">u8")]
            same = (known[at[left]] == ids[left]).all(axis=1)
            found[left[same]] = owners[at[left[same]]]
            left = left[~same]
            at[left] += 1
        return found

    def has_all(self, identifiers: Iterable[ObjectId]) -> bool:
        """Return whether every one of these objects has an owner."""
        return bool((self.owners(ids_of(identifiers)) != NONE).all())

    def _merge(self) -> None:
        """Sort what was added into what is sorted, each object once."""
        if not self._owners:
            return
        added = as_ids(bytes(self._ids))
        ids = np.concatenate((self._sorted[0], added))
        owners = np.concatenate((self._sorted[1], np.frombuffer(self._owners, dtype=np.int64)))
        self._ids, self._owners = bytearray(), array("q")
        order = _order(ids)
        ids, owners = ids[order], owners[order]
        first = np.flatnonzero(np.append(True, (ids[1:] != ids[:-1]).any(axis=1)))  # the first row
        lowest, highest = np.minimum.reduceat(owners, first), np.maximum.reduceat(owners, first)
        self._sorted = ids[first], np.where(lowest == highest, lowest, SHARED)
        self._heads = heads_of(self._sorted[0])

    def _move_to_disk(self) -> None:
        ids, owners = self._sorted
        rows = zip(_keys(ids), owners.tolist(), strict=True)
        with _errors():
            self._connection.executemany(
                "INSERT INTO refs VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET"
                " owner = CASE owner WHEN excluded.owner THEN owner ELSE -1 END",
                rows,
            )
        self._is_on_disk = True
        self._sorted, self._heads = (ids[:0], owners[:0]), self._heads[:0]

    def _owners_on_disk(self, ids: Ids) -> Owners:
        keys = _keys(ids)
        known: dict[bytes, int] = {}
        for at in range(0, len(keys), _BATCH):
            batch = keys[at : at + _BATCH]
            marks = ", ".join("?" * len(batch))
            with _errors():
                query = f"SELECT id, owner FROM refs WHERE id IN ({marks})"  # noqa: S608  # question marks alone
                known.update(self._connection.execute(query, batch))
        return np.array([known.get(key, NONE) for key in keys], dtype=np.int64)


def _order(ids: Ids) -> npt.NDArray[Any]:
    """Return the order of ids; those that begin with the same 8 bytes are compared whole, which is rare."""
    heads = heads_of(ids)
    order = np.argsort(heads, kind="stable")
    sorted_ids, sorted_heads = ids[order], heads[order]
    unlike = (sorted_heads[1:] == sorted_heads[:-1]) & (sorted_ids[1:] != sorted_ids[:-1]).any(axis=1)
    if not unlike.any():
        return order
    return np.lexsort((*(ids[:, word] for word in (3, 2, 1)), heads))


def _keys(ids: Ids) -> list[bytes]:
    keys: list[bytes] = np.ascontiguousarray(ids, dtype="<u8").view("V32").ravel().tolist()
    return keys


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except SqliteError as error:
        if is_full(error):
            raise NoSpace(
                "the disk for temporary files is full",
                hint="free some space, or set another folder: SQLITE_TMPDIR=DIR",
            ) from error
        raise StoreError(f"the temporary table of references failed: {error}") from error
