"""Which objects are referenced, and by which owner: a temporary table on disk, so that memory stays constant.

An object has no owner, one, or several (`SHARED`). Owners are numbers that the caller chooses, usually one a package.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Self

from ptmtorrent.disk.database import SqliteError, connect_temporary, is_full
from ptmtorrent.errors import NoSpace, StoreError
from ptmtorrent.model.ids import ObjectId

CACHE_BYTES = 2 << 20
_BATCH = 500
SHARED = -1
"""The owner of objects that several owners reference."""


class References:
    """An open table of references. Not thread-safe."""

    def __init__(self, cache: int = CACHE_BYTES) -> None:
        """`cache` are the bytes that the table may have in memory; beyond them it is on disk."""
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
        with _errors():
            self._connection.executemany(
                "INSERT INTO refs VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET"
                " owner = CASE owner WHEN excluded.owner THEN owner ELSE ? END",
                ((bytes.fromhex(identifier), owner, SHARED) for identifier in identifiers),
            )

    def owner(self, identifier: ObjectId) -> int | None:
        """Return the owner of an object: `SHARED` if there are several, None if there is none."""
        with _errors():
            found = self._connection.execute(
                "SELECT owner FROM refs WHERE id = ?", (bytes.fromhex(identifier),)
            ).fetchone()
        return None if found is None else int(found[0])

    def has_all(self, identifiers: Iterable[ObjectId]) -> bool:
        """Return whether every one of these objects has an owner."""
        rest = iter(identifiers)
        while block := list(islice(rest, _BATCH)):
            keys = {bytes.fromhex(identifier) for identifier in block}
            marks = ", ".join("?" * len(keys))
            with _errors():
                query = f"SELECT count(*) FROM refs WHERE id IN ({marks})"  # noqa: S608  # question marks alone
                ((found,),) = self._connection.execute(query, [*keys]).fetchall()
            if found != len(keys):
                return False
        return True


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
