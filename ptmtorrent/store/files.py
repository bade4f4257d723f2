"""What the store knows of whole files, and how they are read, hashed and checked."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES, FileEntry, Manifest
from ptmtorrent.store import hashing
from ptmtorrent.store.cutters import FileSource, MemorySource, Piece
from ptmtorrent.store.durable import disk_errors, read_into

SMALL_BYTES = 4 << 20
"""Files up to this size (4 MiB) are read once, and kept in memory until they are stored."""

WINDOW_BYTES = 4 << 20
"""Pieces are hashed together up to this size."""


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
    """The hashes of a file's bytes, in hex; `git_sha1` is that of git's blob object, None where not asked for.

    `objects` are the ids of the pieces it was cut into.
    """

    size: int
    blake3: str
    sha256: str
    git_sha1: str | None
    objects: tuple[ObjectId, ...]


class Steady:
    """An open file that must not change while it is read. A small one is read at once."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self._seen = self._stamp()
        self.size = self._seen[0]
        self._small: memoryview | None = None
        if self.size <= SMALL_BYTES:
            self._small = self.load(0, self.size, memoryview(bytearray(self.size)))
        self.source = FileSource(descriptor, path) if self._small is None else MemorySource(bytes(self._small))

    def load(self, offset: int, length: int, buffer: memoryview) -> memoryview:
        """Return `length` bytes at `offset`, in `buffer` or from memory.

        Raises:
            IntegrityError: the file is shorter than it was.
        """
        if self._small is not None:
            return self._small[offset : offset + length]
        view = buffer[:length]
        with disk_errors(self.path):
            count = read_into(self._descriptor, view, offset)
        if count != length:
            raise changed(self.path)
        return view

    def buffers(self, count: int) -> list[memoryview]:
        """Return memory for `load`: nothing for a small file, else room for the longest piece, `count` times."""
        size = 0 if self._small is not None else min(self.size, MAX_OBJECT_BYTES)
        return [memoryview(bytearray(size)) for _ in range(count)]

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


def hash_file(steady: Steady, pieces: Sequence[Piece], pool: Executor, *, git: bool) -> FileHashes:
    """Read the file once and return its hashes; `git` asks for git's blob id too. BLAKE3 runs beside, on `pool`."""
    whole, sha256 = blake3(), hashing.sha256()
    digests: list[Any] = [sha256]
    blob = hashlib.sha1(b"blob %d\0" % steady.size, usedforsecurity=False)
    if git:
        digests.append(blob)

    def name_pieces(view: memoryview, window: Sequence[Piece]) -> list[ObjectId]:
        whole.update(view)
        start = window[0].offset
        return [object_id(view[piece.offset - start :][: piece.length]) for piece in window]

    objects: list[ObjectId] = []
    buffers = steady.buffers(2)
    naming: Future[list[ObjectId]] | None = None
    for window in _windows(pieces):
        buffers.reverse()
        view = steady.load(window[0].offset, sum(piece.length for piece in window), buffers[0])
        if naming is not None:
            objects += naming.result()
        naming = pool.submit(name_pieces, view, window)
        for digest in digests:
            digest.update(view)
    if naming is not None:
        objects += naming.result()
    return FileHashes(
        steady.size, whole.hexdigest(), sha256.hexdigest(), blob.hexdigest() if git else None, tuple(objects)
    )


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


def file_in(manifest: Manifest, file: FileEntry) -> StoredFile:
    """Return what a manifest says of one of its files."""
    return StoredFile(
        size=file.size,
        blake3=file.blake3,
        sha256=file.sha256,
        git_sha1=file.git_sha1,
        cutter=file.cutter,
        objects=tuple(manifest.objects[row] for row in manifest.objects_of(file.recipe)),
    )


def _windows(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Group neighbouring pieces up to 4 MiB; longer ones stand alone."""
    window: list[Piece] = []
    size = 0
    for piece in pieces:
        if window and size + piece.length > WINDOW_BYTES:
            yield window
            window, size = [], 0
        window.append(piece)
        size += piece.length
    if window:
        yield window
