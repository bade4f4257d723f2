"""A stored file: its hashes and objects, and the source that reads it from them."""

import threading
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import msgspec

from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import FileEntry, Manifest


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which every object is in the store. `objects` are `(id, raw bytes)` in file order, repeats allowed.

    `git_sha1` is None if it was not computed: a file that a hub lists by SHA-256 is not a git blob.
    """

    size: int
    blake3: str
    sha256: str
    git_sha1: str | None
    cutter: str
    objects: tuple[tuple[ObjectId, int], ...]


def file_in(manifest: Manifest, file: FileEntry) -> StoredFile:
    """Return one of the files of a manifest."""
    return StoredFile(
        size=file.size,
        blake3=file.blake3,
        sha256=file.sha256,
        git_sha1=file.git_sha1,
        cutter=file.cutter,
        objects=tuple(manifest.objects[row] for row in manifest.objects_of(file.recipe)),
    )


class StoredSource:
    """A `ByteSource` over a file in the store. The object that was read last stays in memory."""

    def __init__(self, file: StoredFile, read: Callable[[ObjectId], bytes]) -> None:
        self._file = file
        self._read = read
        self._starts = [0, *accumulate(size for _, size in file.objects)]
        self._last: tuple[int, bytes] | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer at the end of the file.

        Raises:
            NotFound, IntegrityError: an object is missing or damaged.
        """
        end = min(offset + length, self.size)
        parts: list[bytes] = []
        while offset < end:
            row = bisect_right(self._starts, offset) - 1
            data = self._object(row)
            start = offset - self._starts[row]
            parts.append(data[start : start + end - offset])
            offset += len(parts[-1])
        return b"".join(parts)

    def _object(self, row: int) -> bytes:
        with self._lock:
            last = self._last
        if last is not None and last[0] == row:
            return last[1]
        data = self._read(self._file.objects[row][0])
        with self._lock:
            self._last = (row, data)
        return data
