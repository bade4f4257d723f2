"""The content of a served file: bytes in memory, or a file on disk that is never read whole."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

CHUNK_BYTES = 1 << 20


class Content(Protocol):
    """Bytes that can be read repeatedly from any offset."""

    @property
    def size(self) -> int:
        """The size in bytes."""
        ...

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`, at most 1 MiB at a time."""
        ...


class InMemory(msgspec.Struct, frozen=True):
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.data)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield slices."""
        for offset in range(start, stop, CHUNK_BYTES):
            yield self.data[offset : min(stop, offset + CHUNK_BYTES)]


class OnDisk(msgspec.Struct, frozen=True):
    """A file that must not change while it is served."""

    path: Path
    size: int

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Read the file in chunks as they are consumed."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < stop and (data := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(data)
                yield data


def sha256_of(content: Content) -> str:
    """Return the SHA-256 in hex, which is the oid of an LFS file."""
    digest = hashlib.sha256()
    for data in content.chunks(0, content.size):
        digest.update(data)
    return digest.hexdigest()


def git_sha1_of(content: Content) -> str:
    """Return the git blob id in hex."""
    digest = hashlib.sha1(b"blob %d\0" % content.size, usedforsecurity=False)
    for data in content.chunks(0, content.size):
        digest.update(data)
    return digest.hexdigest()
