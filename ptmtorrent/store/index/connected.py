"""A connection to the SQLite file of the index, and its transactions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptmtorrent.disk.database import Connection
from ptmtorrent.store.index.file import VERSION, index_errors

Value = bytes | str | int | None


class Connected:
    """An open file. Writes form one transaction until `commit`, which blocks all other writers."""

    def __init__(self, connection: Connection, path: Path, version: int = VERSION) -> None:
        self._connection = connection
        self._path = path
        self._version = version

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the writes of the block durably, or roll all of them back if it raises."""
        try:
            yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Undo the writes since the last commit."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def commit(self) -> None:
        """Make all writes so far durable."""
        if self._connection.in_transaction:
            self._run("COMMIT")

    def close(self) -> None:
        """Close the file; uncommitted changes are lost."""
        with index_errors(self._path):
            self._connection.close()

    def _begin(self) -> None:
        """Begin a transaction, unless one has begun: from here on no other process writes."""
        if not self._connection.in_transaction:
            self._run("BEGIN IMMEDIATE")

    def _write(self, sql: str, *values: Value) -> None:
        self._begin()
        self._run(sql, *values)

    def _write_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._begin()
        with index_errors(self._path):
            self._connection.executemany(sql, rows)

    def _row(self, sql: str, value: bytes | str) -> int:
        rows = self._run(sql, value)
        with index_errors(self._path):
            return int(rows[0][0])

    def _run(self, sql: str, *values: Value) -> list[Any]:
        with index_errors(self._path):
            return self._connection.execute(sql, values).fetchall()
