"""Binary documents: a magic, a JSON head, and columns of fixed-width numbers and hashes.

::

    8 bytes   magic, such as PTMPLACE
    4         H, the length of the head
    H         head: canonical JSON with format, version, requires and the numbers of rows
    …         columns, one after another, without gaps; integers are unsigned and little-endian

The numbers of rows are checked against the length of the document before a column is read, so a document takes no more
memory than its bytes. Columns are views: nothing is copied.
"""

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.text import spell_size

MAX_HEAD_BYTES = 1 << 16
"""Limit of the JSON head of a binary document (64 KiB)."""

MAGIC_BYTES = 8
HASH_BYTES = 32

Numbers: TypeAlias = npt.NDArray[Any]
"""A column of unsigned integers."""

Hashes: TypeAlias = npt.NDArray[np.void]
"""A column of 32-byte hashes; `hashes[row].tobytes()` is one."""

U8, U16, U32, U64 = (np.dtype(name) for name in ("u1", "<u2", "<u4", "<u8"))
HASH = np.dtype((np.void, HASH_BYTES))

D = TypeVar("D", bound=canonical.Document)


def encode_columns(magic: bytes, head: canonical.Document, *columns: Numbers | Hashes | bytes) -> bytes:
    """Return a document of a head and columns; columns are written as they are."""
    text = canonical.encode(head)
    parts = [column if isinstance(column, bytes) else np.ascontiguousarray(column).tobytes() for column in columns]
    return b"".join((magic, len(text).to_bytes(4, "little"), text, *parts))


class ColumnReader:
    """Reads the head of a document, and then its columns in order; `name` is the document as shown in errors."""

    def __init__(self, data: bytes, magic: bytes, name: str, limit: int = canonical.MAX_DOCUMENT_BYTES) -> None:
        if len(data) > limit:
            raise IntegrityError(f"`{name}` is {spell_size(len(data))}, over the limit of {spell_size(limit)}")
        if data[:MAGIC_BYTES] != magic:
            raise IntegrityError(f"`{name}` is not a {magic.decode()} document")
        self._data = data
        self._name = name
        self._at = MAGIC_BYTES

    def head(self, kind: type[D]) -> D:
        """Return the head, a document of `kind`.

        Raises:
            IntegrityError: it is malformed.
            UnsupportedFormat: another version, or an unknown feature.
        """
        size = int.from_bytes(self.take(4), "little")
        if size > MAX_HEAD_BYTES:
            raise IntegrityError(f"`{self._name}` has a head of {size} bytes")
        return canonical.decode(self.take(size), kind, name=self._name)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            IntegrityError: the document ends before.
        """
        if size < 0 or size > len(self._data) - self._at:
            raise IntegrityError(f"`{self._name}` ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def column(self, kind: np.dtype[Any], rows: int) -> Numbers:
        """Return the next column of `rows` values, as a view.

        Raises:
            IntegrityError: the document ends before.
        """
        size = kind.itemsize * rows
        if rows < 0 or size > len(self._data) - self._at:
            raise IntegrityError(f"`{self._name}` ends too early")
        found = np.frombuffer(self._data, kind, rows, self._at)
        self._at += size
        return found

    def finish(self) -> None:
        """Check that nothing follows the last column.

        Raises:
            IntegrityError: something does.
        """
        if self._at != len(self._data):
            raise IntegrityError(f"`{self._name}` has {len(self._data) - self._at} bytes after its last column")


def hash_column(identifiers: list[str]) -> bytes:
    """Return hex hashes as the bytes of a column."""
    return bytes.fromhex("".join(identifiers))


def hex_of(hashes: Hashes, row: int) -> str:
    """Return one hash of a column as hex."""
    return bytes(hashes[row]).hex()
