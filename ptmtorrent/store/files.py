"""What the store knows of whole files, and how their hashes are taken and checked."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.cutters import FileSource
from ptmtorrent.store.durable import disk_errors

READ_BYTES = 1 << 20


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which every object is in the store. `objects` are `(id, raw bytes)` in file order, repeats allowed.

    `git_sha1` is None where it was not taken: a file that came under a SHA-256 is no git blob.
    """

    size: int
    blake3: str
    sha256: str
    git_sha1: str | None
    cutter: str
    objects: tuple[tuple[ObjectId, int], ...]


class Expected(msgspec.Struct, frozen=True):
    """What a hub promised of a file: its bytes, and `sha256:<64 hex>` or `git:<40 hex>`; None where it did not."""

    size: int | None = None
    oid: str | None = None


class FileHashes(msgspec.Struct, frozen=True):
    """The hashes of a file's bytes, in hex. `git_sha1` is that of git's blob object, None where not asked for."""

    size: int
    blake3: str
    sha256: str
    git_sha1: str | None


class Steady:
    """An open file that must not change while it is read."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self.source = FileSource(descriptor, path)
        self._seen = self._stamp()

    def check(self) -> None:
        """Refuse a file that was written since it was opened.

        Raises:
            IntegrityError: its size or time of change is another.
        """
        if self._stamp() != self._seen:
            raise changed(self.path)

    def _stamp(self) -> tuple[int, int]:
        with disk_errors(self.path):
            status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


@contextmanager
def open_steady(path: Path) -> Iterator[Steady]:
    """Open `path` once, for hashing and cutting alike.

    Raises:
        StoreError: it cannot be opened.
    """
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Steady(descriptor, path)
    finally:
        os.close(descriptor)


def changed(path: Path) -> IntegrityError:
    """Say that `path` changed while it was read."""
    return IntegrityError(
        f"`{path}` changed while it was read", hint="run the same command again when nothing writes it"
    )


def hash_file(steady: Steady, *, git: bool) -> FileHashes:
    """Read the file once, in bounded memory, and return its hashes; `git` asks for git's blob id too."""
    size = steady.source.size
    whole, sha256 = blake3(), hashlib.sha256()
    digests: list[Any] = [whole, sha256]
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if git:
        digests.append(blob)
    done = 0
    while done < size:
        data = steady.source.read(done, min(READ_BYTES, size - done))
        if not data:
            raise changed(steady.path)
        for digest in digests:
            digest.update(data)
        done += len(data)
    return FileHashes(size, whole.hexdigest(), sha256.hexdigest(), blob.hexdigest() if git else None)


def check_expected(hashes: FileHashes, expected: Expected, name: str) -> None:
    """Compare a file with what was promised of it.

    Raises:
        IntegrityError: naming the file and what differs.
    """
    if expected.size is not None and hashes.size != expected.size:
        raise IntegrityError(f"`{name}` has {hashes.size} bytes, {expected.size} were promised")
    if expected.oid is None:
        return
    sort, _, digest = expected.oid.partition(":")
    found = {"sha256": hashes.sha256, "git": hashes.git_sha1}.get(sort)
    if found is None:
        raise IntegrityError(f"`{name}` was promised with the hash `{expected.oid}`, of a sort that is not known")
    if found != digest:
        raise IntegrityError(f"`{name}` hashes to `{sort}:{found}`, `{expected.oid}` was promised")
