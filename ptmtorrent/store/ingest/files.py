"""Whole files: opened once, read, hashed and compared with the hash that the hub states."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import disk_errors, open_regular, read_into
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.codecs.scratch import take_bytes
from ptmtorrent.store.cutters import Cut, FileSource, MemorySource, Piece
from ptmtorrent.store.pack import hashes as pack_hashes
from ptmtorrent.store.stored_file import StoredFile

SMALL_BYTES = 4 << 20
"""Files up to this size (4 MiB) are read once and kept in memory until they are stored."""

BLOCK_BYTES = 512 << 10
"""Bytes read at a time; they are hashed while they are in the processor's cache."""


_PREFIX_DIGITS = 8
"""The shortest hash in the name of a weights file; fewer digits prove nothing."""


class Expected(msgspec.Struct, frozen=True):
    """The size and the hash of a file that a hub states (see `check_expected`); None if it states none."""

    size: int | None = None
    oid: str | None = None


class FileHashes(msgspec.Struct, frozen=True):
    """The hashes of a file's bytes, in hex; `git_sha1` is that of git's blob object, None if it was not computed.

    `objects` are the ids of the pieces it was cut into.
    """

    size: int
    blake3: str
    sha256: str
    git_sha1: str | None
    objects: tuple[ObjectId, ...]

    def file(self, cut: Cut) -> StoredFile:
        """Return the file with these hashes, once all pieces of `cut` are stored."""
        sizes = (piece.length for piece in cut.pieces)
        return StoredFile(
            size=self.size,
            blake3=self.blake3,
            sha256=self.sha256,
            git_sha1=self.git_sha1,
            cutter=cut.cutter,
            objects=tuple(zip(self.objects, sizes, strict=True)),
        )


class StableFile:
    """An open file that must not change while it is read. A small file is read as a whole."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self._seen = self._stamp()
        self.size = self._seen[0]
        self._small: memoryview | None = None
        if self.size <= SMALL_BYTES:
            self._small = self._load(0, memoryview(bytearray(self.size)))
        self.source = FileSource(descriptor, path) if self._small is None else MemorySource(bytes(self._small))

    def blocks(self, piece: Piece, buffer: memoryview) -> Iterator[memoryview]:
        """Yield the bytes of `piece`, 512 KiB at a time, so that each is used while it is in the processor's cache.

        A `buffer` as long as the piece holds all of it in the end, a shorter one the last block.

        Raises:
            IntegrityError: the file is shorter than it was.
        """
        for start in range(0, piece.length, BLOCK_BYTES):
            length = min(BLOCK_BYTES, piece.length - start)
            if self._small is not None:
                yield self._small[piece.offset + start :][:length]
            else:
                room = start if len(buffer) >= piece.length else 0
                yield self._load(piece.offset + start, buffer[room : room + length])

    def whole(self, piece: Piece, buffer: memoryview) -> memoryview:
        """Return all of a piece whose blocks were loaded into `buffer`."""
        if self._small is not None:
            return self._small[piece.offset : piece.offset + piece.length]
        return buffer[: piece.length]

    def _load(self, offset: int, view: memoryview) -> memoryview:
        with disk_errors(self.path):
            count = read_into(self._descriptor, view, offset)
        if count != len(view):
            raise changed(self.path)
        return view

    def check(self) -> None:
        """Refuse a file that was changed since it was opened.

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
def open_stable(path: Path) -> Iterator[StableFile]:
    """Open `path` once, for both hashing and cutting.

    Raises:
        StoreError: it cannot be opened.
    """
    with disk_errors(path):
        descriptor = open_regular(path)
    try:
        yield StableFile(descriptor, path)
    finally:
        os.close(descriptor)


def changed(path: Path) -> IntegrityError:
    """Return the error for a file that changed while it was read."""
    return IntegrityError(
        f"`{path}` changed while it was read", hint="run the same command again when nothing writes it"
    )


def hash_file(stable: StableFile, pieces: Iterable[Piece], *, git: bool) -> FileHashes:
    """Read the file once and return its hashes; with `git`, that of git's blob object too."""
    whole, sha256 = blake3(), pack_hashes.sha256()
    digests: list[Any] = [whole, sha256]
    blob = hashlib.sha1(b"blob %d\0" % stable.size, usedforsecurity=False)
    if git:
        digests.append(blob)
    buffer = take_bytes("block", BLOCK_BYTES).data
    objects: list[ObjectId] = []
    for piece in pieces:
        name = blake3()
        for block in stable.blocks(piece, buffer):
            name.update(block)
            for digest in digests:
                digest.update(block)
        objects.append(ObjectId(name.hexdigest()))
    return FileHashes(
        stable.size, whole.hexdigest(), sha256.hexdigest(), blob.hexdigest() if git else None, tuple(objects)
    )


def check_expected(hashes: FileHashes, expected: Expected, name: str) -> None:
    """Compare a file with the stated hash: `sha256:<64 hex>`, `git:<40 hex>`, `sha256-prefix:<8 to 63 hex>`.

    Raises:
        IntegrityError: naming the file and what differs, or a sort of hash that is not known.
    """
    if expected.size is not None and hashes.size != expected.size:
        raise IntegrityError(f"`{name}` has {hashes.size} bytes, but the hub lists {expected.size}")
    if expected.oid is None:
        return
    sort, _, digest = expected.oid.partition(":")
    prefix = hashes.sha256[: len(digest)] if _PREFIX_DIGITS <= len(digest) < len(hashes.sha256) else None
    found = {"sha256": hashes.sha256, "git": hashes.git_sha1, "sha256-prefix": prefix}.get(sort)
    if found is None:
        raise IntegrityError(f"`{name}` is listed with the hash `{expected.oid}`, of an unknown type")
    if found != digest:
        raise IntegrityError(f"`{name}` has the hash `{sort}:{found}`, but the hub lists `{expected.oid}`")
