"""Where the bytes of a served file come from: memory, or a file on disk that is never read whole."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

CHUNK_BYTES = 1 << 20


class Content(Protocol):
    """Bytes that can be read from any offset, as often as one likes."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`, at most 1 MiB at a time."""
        ...


class InMemory(msgspec.Struct, frozen=True):
    """Bytes that are there already."""

    data: bytes

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.data)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield slices."""
        for offset in range(start, stop, CHUNK_BYTES):
            yield self.data[offset : min(stop, offset + CHUNK_BYTES)]


class OnDisk(msgspec.Struct, frozen=True):
    """A file that stays as it is while it is served."""

    path: Path
    size: int

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Read on as the reader asks for more."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < stop and (data := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(data)
                yield data


def sha256_of(content: Content) -> str:
    """Return the SHA-256, which is the oid of an LFS file, in hex."""
    digest = hashlib.sha256()
    for data in content.chunks(0, content.size):
        digest.update(data)
    return digest.hexdigest()


def git_sha1_of(content: Content) -> str:
    """Return the id git gives these bytes, in hex."""
    digest = hashlib.sha1(b"blob %d\0" % content.size, usedforsecurity=False)
    for data in content.chunks(0, content.size):
        digest.update(data)
    return digest.hexdigest()
