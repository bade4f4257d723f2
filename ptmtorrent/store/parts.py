"""Writing packs: a part grows by whole records, and is sealed once into a pack that never changes again.

What a part holds is not trusted after a restart: `reopen_part` decodes and hashes every object in it, and cuts off
what a crash left torn.
"""

import os
from contextlib import suppress
from pathlib import Path

from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.plan import PIECE_BYTES
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import records
from ptmtorrent.store.classes import ObjectKind, PackClass
from ptmtorrent.store.durable import disk_error, disk_errors, ensure_dir, sync_dir, write_all
from ptmtorrent.store.hashing import PackHasher
from ptmtorrent.store.packs import READ_BYTES, PackReader, open_pack
from ptmtorrent.store.records import Entry, PackInfo

PACK_BYTES = 256 << 20
"""A pack is sealed before it would grow beyond this."""

_ENDING_BYTES = 8 << 10
"""Room for the footer's info and the trailer."""

_JOIN_BELOW_BYTES = 64 << 10


class Part:
    """An unsealed pack that this process writes. Not thread-safe: the store calls it under its lock."""

    def __init__(self, path: Path, pack_class: PackClass, entries: list[Entry], hasher: PackHasher) -> None:
        """Continue the part at `path`, which holds `entries` and nothing after them; `hasher` has seen it all."""
        self.path = path
        self.pack_class = pack_class
        self.entries = entries
        self._hasher = hasher
        self._unsynced = True
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_WRONLY)
            os.lseek(self._descriptor, hasher.size, os.SEEK_SET)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._hasher.size

    @property
    def closed(self) -> bool:
        """Tell whether nothing more can be written."""
        return self._descriptor < 0

    def has_room(self, stored: int) -> bool:
        """Tell whether a record of `stored` bytes fits, footer included."""
        footer = records.ROW_BYTES * (len(self.entries) + 1) + _ENDING_BYTES
        return self.size + records.MAX_RECORD_BYTES + stored + footer <= PACK_BYTES

    def append(self, identifier: ObjectId, codec: int, payload: bytes, raw: int, kind: ObjectKind) -> Entry:
        """Write one record; on failure the part is as it was.

        Raises:
            NoSpace: the disk is full, naming the bytes needed.
            StoreError: any other failure.
        """
        draft = Entry(id=identifier, offset=0, stored=len(payload), raw=raw, codec=codec, kind=kind)
        head = records.encode_record(draft)
        if len(payload) < _JOIN_BELOW_BYTES:
            self._write(head + payload)
        else:
            self._write(head, payload)
        entry = Entry(
            id=identifier,
            offset=self.size - len(payload),
            stored=len(payload),
            raw=raw,
            codec=codec,
            kind=kind,
        )
        self.entries.append(entry)
        return entry

    def sync(self) -> None:
        """Make what was written durable.

        Raises:
            StoreError: nothing is known about the bytes then; the part must be reopened, not synced again.
        """
        if not self._unsynced:
            return
        with disk_errors(self.path):
            os.fsync(self._descriptor)
        self._unsynced = False

    def finish(self, info: PackInfo) -> PackHashes:
        """Write footer and padding, make the part durable, and return its hashes. It is still called a part."""
        ending = records.encode_footer(self.entries, info, self.size)
        padding = -(self.size + len(ending)) % PIECE_BYTES
        self._write(ending, bytes(padding))
        self.sync()
        self.close()
        return self._hasher.finish(self.pack_class.rights)

    def close(self) -> None:
        """Let go of the file."""
        if not self.closed:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, *chunks: bytes) -> None:
        if self.closed:
            raise StoreError(f"`{self.path}` is no longer written", hint="run the same command again")
        try:
            for chunk in chunks:
                write_all(self._descriptor, chunk)
        except OSError as error:
            self._undo()
            raise disk_error(error, self.path, sum(map(len, chunks))) from error
        except BaseException:
            self._undo()
            raise
        self._unsynced = True
        for chunk in chunks:
            self._hasher.update(chunk)

    def _undo(self) -> None:
        """Cut off a torn record; where even that fails, never write this part again."""
        try:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
        except OSError:
            with suppress(OSError):
                self.close()


def new_part(path: Path, pack_class: PackClass) -> Part:
    """Start a part of `pack_class` at `path`, whose name is durable when this returns."""
    ensure_dir(path.parent)
    header = records.encode_header(pack_class)
    with disk_errors(path, len(header)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(descriptor, header)
        finally:
            os.close(descriptor)
    sync_dir(path.parent)
    hasher = PackHasher()
    hasher.update(header)
    return Part(path, pack_class, [], hasher)


def reopen_part(path: Path, pack_class: PackClass) -> Part:
    """Continue a part that another process left: every object in it is checked, what follows the first bad one is cut.

    Raises:
        UnsupportedFormat: a newer version wrote it.
        StoreError: it cannot be read or cut.
    """
    with open_pack(path) as reader:
        entries = _good_entries(reader, pack_class)
        if entries is None:
            return new_part(path, pack_class)
        end = entries[-1].end if entries else reader.header()[1]
        with disk_errors(path):
            os.truncate(path, end)
        hasher = PackHasher()
        for at in range(0, end, READ_BYTES):
            hasher.update(reader.read(at, min(READ_BYTES, end - at)))
    return Part(path, pack_class, entries, hasher)


def _good_entries(reader: PackReader, pack_class: PackClass) -> list[Entry] | None:
    """Return the objects before the first damage; None when not even the header holds."""
    try:
        found, _ = reader.header()
    except IntegrityError:
        return None
    if found != pack_class:
        return None
    entries: list[Entry] = []
    for scanned in reader.scan():
        if scanned.after_damage or not reader.holds(scanned.entry):
            break
        entries.append(scanned.entry)
    return entries
