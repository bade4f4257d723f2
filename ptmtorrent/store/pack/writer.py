"""Writes packs: a part grows by whole records, and is sealed once into a pack that never changes again.

After a restart a part continues where it was committed: its bytes are compared with the hashes that were recorded then,
before anything is appended. What no hash covers is not trusted: `recovery/recheck` decodes and hashes it first.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import disk_error, disk_errors, ensure_dir, sync_dir, write_all, write_chunks
from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model.pieces import padded
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import Entry, EntryTable, PackClass, PackInfo
from ptmtorrent.store.pack.hashes import PackHasher
from ptmtorrent.store.pack.reader import READ_BYTES, PackReader, open_pack

PIECE_BYTES = 4 << 20
HASH_BYTES = 32


class PartState(msgspec.Struct, frozen=True, kw_only=True):
    """The committed state of a part; `hashes` are those of its whole pieces and of the rest, in order."""

    length: int
    objects: int
    hashes: bytes

    @property
    def rest_at(self) -> int:
        """Where the rest begins."""
        return self.length - self.length % PIECE_BYTES

    @property
    def is_possible(self) -> bool:
        """Whether there are as many hashes as the length needs."""
        return self.length > 0 and self.objects >= 0 and len(self.hashes) == -(-self.length // PIECE_BYTES) * HASH_BYTES


class PieceHasher:
    """Hashes the bytes of a part by pieces, passed in order and in any lengths."""

    def __init__(self, whole: bytes = b"") -> None:
        """Continue after whole pieces whose hashes are `whole`."""
        self._whole = bytearray(whole)
        self._rest = blake3()
        self._rest_bytes = 0

    @property
    def size(self) -> int:
        """The bytes hashed so far."""
        return len(self._whole) // HASH_BYTES * PIECE_BYTES + self._rest_bytes

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        view = memoryview(data).cast("B")
        while view:
            part = view[: PIECE_BYTES - self._rest_bytes]
            view = view[len(part) :]
            self._rest.update(part)
            self._rest_bytes += len(part)
            if self._rest_bytes == PIECE_BYTES:
                self._whole += self._rest.digest()
                self._rest, self._rest_bytes = blake3(), 0

    def hashes(self) -> bytes:
        """Return the hashes of the bytes so far."""
        return bytes(self._whole) + (self._rest.digest() if self._rest_bytes else b"")


PACK_BYTES = 256 << 20
"""Limit of a pack, which is sealed before it would exceed it (256 MiB)."""

_ENDING_BYTES = 8 << 10
"""Bytes reserved for the info in the footer and for the trailer."""


@dataclass(frozen=True)
class Written:
    """What a part holds: its objects, and the hashes of all its bytes, as a pack and by pieces."""

    entries: EntryTable
    hasher: PackHasher
    pieces: PieceHasher

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        self.hasher.update(data)
        self.pieces.update(data)

    @property
    def state(self) -> PartState:
        """What a commit records."""
        return PartState(length=self.hasher.size, objects=len(self.entries), hashes=self.pieces.hashes())


class Part:
    """An unsealed pack that this process writes. Not thread-safe: the store calls it under its lock."""

    def __init__(
        self, path: Path, pack_class: PackClass, written: Written | PartState, read: Callable[[], Written] | None = None
    ) -> None:
        """Continue the part at `path`, which ends with what was `written`.

        If only the state is known, `read` reads the rest when it is first needed.
        """
        self.path = path
        self.pack_class = pack_class
        self._committed = written if isinstance(written, PartState) else None
        self._known = written if isinstance(written, Written) else None
        self._read = read
        self._unsynced = self._committed is None
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_WRONLY)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)

    @property
    def entries(self) -> EntryTable:
        """The objects, by offset.

        Raises:
            StoreError: the part has to be read first, and is damaged.
        """
        return self._written.entries

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return self.state.objects if self._known is None else len(self._known.entries)

    @property
    def state(self) -> PartState:
        """What of the part a commit records, once it is synced."""
        return self._committed if self._known is None and self._committed is not None else self._written.state

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.state.length if self._known is None else self._known.hasher.size

    @property
    def _written(self) -> Written:
        if self._known is None:
            if self._read is None:
                raise AssertionError("a part whose bytes are not known is given a function that reads them")
            self._known = self._read()
        return self._known

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._descriptor < 0

    def has_room(self, stored: int) -> bool:
        """Return whether a record of `stored` bytes and the footer fit."""
        footer = pack_format.ROW_BYTES * (self.objects + 1) + _ENDING_BYTES
        return self.size + pack_format.MAX_RECORD_BYTES + stored + footer <= PACK_BYTES

    def append(self, draft: Entry, chunks: Sequence[bytes | memoryview]) -> Entry:
        """Write the record of `draft`, whose offset is not known yet; return it with the offset, or change nothing.

        Raises:
            NoSpace: the disk is full, naming the bytes needed.
            StoreError: any other failure.
        """
        entries = self.entries
        self._write(pack_format.encode_record(draft), *chunks)
        entry = msgspec.structs.replace(draft, offset=self.size - draft.stored)
        entries.append(entry)
        return entry

    def sync(self) -> None:
        """Make all written bytes durable.

        Raises:
            NoSpace, StoreError: nothing is known about the bytes then, not even whether a second sync would tell; the
                part is closed, and must be rechecked before it is continued.
        """
        if not self._unsynced:
            return
        try:
            with disk_errors(self.path):
                os.fsync(self._descriptor)
        except BaseException:
            self.close()
            raise
        self._unsynced = False

    def finish(self, info: PackInfo) -> PackHashes:
        """Write footer and padding, make the part durable, and return its hashes. Its name is still that of a part.

        The padding is a hole where the filesystem has such: it is counted in the pack's size, and takes no room.
        """
        ending = pack_format.encode_footer(self.entries, info, self.size)
        length = self.size + len(ending)
        size = padded(length)
        with disk_errors(self.path, len(ending)):
            os.ftruncate(self._descriptor, size)
        self._write(ending)
        hasher = self._written.hasher
        hasher.update(bytes(size - length))
        self.sync()
        self.close()
        return hasher.finish(self.pack_class.rights)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, *chunks: bytes | memoryview) -> None:
        if self.closed:
            raise StoreError(f"`{self.path}` is no longer written", hint="run the same command again")
        try:
            write_chunks(self._descriptor, chunks)
        except OSError as error:
            self._undo()
            raise disk_error(error, self.path, sum(map(len, chunks))) from error
        except BaseException:
            self._undo()
            raise
        self._unsynced = True
        for chunk in chunks:
            self._written.update(chunk)

    def _undo(self) -> None:
        """Cut off a torn record; if that fails, close the part for good."""
        try:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
        except OSError:
            with suppress(OSError):
                self.close()


def part_in(root: Path, pack_class: PackClass, mark: str = "") -> Path:
    """Return the path of a part of `pack_class` in the store at `root`; concurrent writers differ in `mark`."""
    return root / "open" / ".".join(filter(None, (pack_class.name, mark, "part")))


def new_part(path: Path, pack_class: PackClass, pool: Executor | None = None) -> Part:
    """Start a part of `pack_class` at `path`, whose name is durable on return."""
    ensure_dir(path.parent, sure=True)
    header = pack_format.encode_header(pack_class)
    with disk_errors(path, len(header)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            write_all(descriptor, header)
        finally:
            os.close(descriptor)
    sync_dir(path.parent)
    written = Written(EntryTable(), PackHasher(pool), PieceHasher())
    written.update(header)
    return Part(path, pack_class, written)


def resume_part(
    path: Path,
    pack_class: PackClass,
    state: PartState,
    pool: Executor | None = None,
    *,
    distrust: Callable[[], None] = lambda: None,
) -> Part:
    """Continue a part whose `state` was recorded and that has no bytes after it; it is read at the first use.

    If its bytes have changed since then, `distrust` is called, so that the next process rechecks them, and that use
    raises `StoreError`.
    """

    def read() -> Written:
        try:
            return _read_committed(path, state, pool)
        except IntegrityError as error:
            distrust()
            raise StoreError(
                f"the open part `{path}` is damaged: {error.message}",
                hint="run the same command again: it keeps the objects of the part that are whole",
            ) from error

    return Part(path, pack_class, state, read)


def _read_committed(path: Path, state: PartState, pool: Executor | None) -> Written:
    """Read a part, and compare it with its recorded state.

    Raises:
        IntegrityError: it differs.
    """
    with open_pack(path) as reader:
        written = Written(reader.records(state.length), PackHasher(pool), PieceHasher())
        _hash(reader, state.length, written)
    if written.state != state:
        raise IntegrityError("its bytes are not those that were committed")
    return written


def reopen_part(reader: PackReader, pack_class: PackClass, entries: list[Entry], pool: Executor | None = None) -> Part:
    """Continue a part of another process after `entries`; bytes after them are cut off.

    Raises:
        StoreError: it cannot be read or cut.
    """
    end = reopened_size(reader, entries)
    with disk_errors(reader.path):
        os.truncate(reader.path, end)
    written = Written(EntryTable(entries), PackHasher(pool), PieceHasher())
    _hash(reader, end, written)
    return Part(reader.path, pack_class, written)


def _hash(reader: PackReader, end: int, written: Written) -> None:
    for at in range(0, end, READ_BYTES):
        written.update(reader.read(at, min(READ_BYTES, end - at)))


def reopened_size(reader: PackReader, entries: Sequence[Entry]) -> int:
    """Return the size to which a part is cut when it is continued after `entries`."""
    return entries[-1].end if entries else reader.header()[1]
