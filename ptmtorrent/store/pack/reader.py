"""Reads packs: by the footer, or by a forward scan that needs only the records."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_error, disk_errors, files_in, open_regular, read_at
from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId, is_hex64
from ptmtorrent.model.pieces import alignment_of, is_whole
from ptmtorrent.model.placement import MAX_PACK_BYTES
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.columns import EntryColumns, end_of_records
from ptmtorrent.store.pack.format import Entry, EntryTable, PackClass
from ptmtorrent.store.pack.hashes import PackHasher

READ_BYTES = 4 << 20
_HEADS_BYTES = 16 << 10

ReadBase = Callable[[ObjectId], bytes | None]
"""Returns the base of a delta; None if it cannot be read."""


class Scanned(msgspec.Struct, frozen=True):
    """A record found by a forward scan. `after_damage`: damaged bytes precede it, so it may be part of an object."""

    entry: Entry
    after_damage: bool


class PackReader:
    """An open pack or part. Short reads are errors; everything that is read is verified."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._window = (0, b"")
        self.path = path
        with disk_errors(path):
            self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes.

        Raises:
            IntegrityError: the file is shorter, or the disk cannot read these bytes.
            StoreError: any other failure.
        """
        try:
            data = read_at(self._descriptor, offset, length)
        except OSError as error:
            if error.errno == errno.EIO:
                raise IntegrityError(f"the disk cannot read `{self.path}` at byte {offset}") from error
            raise disk_error(error, self.path) from error
        if len(data) != length:
            raise IntegrityError(f"`{self.path}` ends before byte {offset + length}")
        return data

    def object(self, entry: Entry, base: bytes | None = None) -> bytes:
        """Return the raw bytes of `entry`, decoded and hashed; `base` are the raw bytes of its base, if it is a delta.

        Raises:
            IntegrityError: they do not hash to the id.
        """
        data = codecs.decode(entry.codec, self.read(entry.offset, entry.stored), entry.raw, base)
        if blake3(data).hexdigest() != entry.id:
            raise IntegrityError(f"the object `{entry.id}` in `{self.path}` is damaged")
        return data

    def holds(self, entry: Entry, base: bytes | None = None) -> bool:
        """Return whether the bytes of `entry` hash to its id."""
        try:
            self.object(entry, base)
        except (IntegrityError, UnsupportedFormat):
            return False
        return True

    def header(self) -> tuple[PackClass, int]:
        """Return the class of the pack, and the offset of its first record."""
        length = min(self.size, pack_format.MAX_HEADER_BYTES + 12)
        return pack_format.decode_header(self.read(0, length), self.path.name)

    def footer(self) -> tuple[Entry, ...]:
        """Return the objects of a sealed pack.

        Raises:
            IntegrityError: it is not a pack, was cut short, or is damaged at its end.
        """
        name = self.path.name
        if self.size > MAX_PACK_BYTES or not is_whole(self.size):
            raise IntegrityError(f"the pack `{name}` of {self.size} bytes was cut short, or is not a pack")
        self.header()
        length = min(self.size, alignment_of(self.size) + pack_format.TRAILER_BYTES)
        end = self.read(self.size - length, length)
        offset, footer_bytes, checksum = pack_format.decode_trailer(end, self.size, name)
        return pack_format.decode_footer(self.read(offset, footer_bytes), checksum, offset, name)

    def holds_only(self, columns: EntryColumns) -> bool:
        """Return whether the records of these objects fill the pack from its header to its footer."""
        end = end_of_records(columns, self.header()[1])
        return end is not None and self.read(end, len(pack_format.FOOTER_MAGIC)) == pack_format.FOOTER_MAGIC

    def scan(self, start: int = 0) -> Iterator[Scanned]:
        """Yield every record with a valid checksum, skipping damaged bytes. A sealed pack ends at its footer.

        `start` is where a record begins, if those before it are known.
        """
        at = start
        with suppress(IntegrityError, UnsupportedFormat):
            at = start or self.header()[1]
        lost = at == 0
        while at < self.size:
            head = self.read(at, min(pack_format.MAX_RECORD_BYTES, self.size - at))
            entry = pack_format.decode_record(head, at)
            if entry is not None and entry.end <= self.size:
                yield Scanned(entry, after_damage=lost)
                at = entry.end
            elif not lost and head.startswith(pack_format.FOOTER_MAGIC):
                return
            else:
                lost = True
                at = self._next_magic(at + 1)

    def records(self, end: int) -> EntryTable:
        """Return the objects of the records between the header and byte `end`, up to the first that is not whole.

        Their heads alone are read, those of small objects together.

        Raises:
            IntegrityError: the header is damaged, or the file is shorter.
        """
        table, at = EntryTable(), self.header()[1]
        base, data = at, b""
        while at < end:
            if at + pack_format.MAX_RECORD_BYTES > base + len(data) and base + len(data) < end:
                base, data = at, self.read(at, min(_HEADS_BYTES, end - at))
            record = pack_format.read_record(data, at - base)
            if record is None or at + record.head + record.stored > end:
                break
            table.append_record(record, at)
            at += record.head + record.stored
        return table

    def _next_magic(self, start: int) -> int:
        """Return the offset of the next possible record; the size of the file if there is none."""
        at = start
        while at < self.size:
            base, data = self._window_at(at)
            found = data.find(pack_format.RECORD_MAGIC, at - base)
            if found >= 0:
                return base + found
            # Reads overlap by three bytes, so that no magic between two of them is missed.
            at = max(at + 1, base + len(data) - len(pack_format.RECORD_MAGIC) + 1)
        return self.size

    def _window_at(self, at: int) -> tuple[int, bytes]:
        """Return the bytes around `at` and their offset. Read once: a file may be full of false magics."""
        base, data = self._window
        end = base + len(data)
        if not (base <= at and (at + len(pack_format.RECORD_MAGIC) <= end or end == self.size)):
            self._window = (at, self.read(at, min(READ_BYTES, self.size - at)))
        return self._window


@contextmanager
def open_pack(path: Path) -> Iterator[PackReader]:
    """Open a pack or part for reading.

    Raises:
        PackMissing: the file does not exist.
        StoreError: it cannot be opened; its bytes may be intact.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError as error:
        raise PackMissing(disk_error(error, path).message) from error
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield PackReader(descriptor, path)
    finally:
        os.close(descriptor)


def local_bases(reader: PackReader, entries: Sequence[Entry], read_base: ReadBase) -> ReadBase:
    """Return a function that reads a base from this pack if it holds it, else with `read_base`.

    The last base stays in memory, because consecutive deltas often share it.
    """
    plain = {entry.id: entry for entry in entries if entry.base is None} if any(e.base for e in entries) else {}
    kept: dict[ObjectId, bytes | None] = {}

    def read(identifier: ObjectId) -> bytes | None:
        if identifier not in kept:
            kept.clear()
            kept[identifier] = None
            with suppress(IntegrityError, UnsupportedFormat, PackMissing):
                here = plain.get(identifier)
                kept[identifier] = reader.object(here) if here is not None else read_base(identifier)
        return kept[identifier]

    return read


def hash_pack(path: Path, pack: PackId) -> PackHashes:
    """Read a whole pack and return its hashes.

    Raises:
        IntegrityError: its bytes do not hash to `pack`.
    """
    hasher = PackHasher()
    with open_pack(path) as reader:
        if reader.size > MAX_PACK_BYTES or not is_whole(reader.size):
            raise IntegrityError(f"the pack `{path.name}` of {reader.size} bytes was cut short, or is not a pack")
        for at in range(0, reader.size, READ_BYTES):
            hasher.update(reader.read(at, min(READ_BYTES, reader.size - at)))
        if (found := hasher.name()) != pack:
            raise IntegrityError(f"the pack `{pack}` is damaged: its bytes hash to `{found}`")
        pack_class, _ = reader.header()
    return hasher.finish(pack_class.rights)


def pack_in(root: Path, pack: PackId) -> Path:
    """Return the path of `pack` in the store at `root`."""
    return root / pack_path(pack)


def packs_on_disk(root: Path) -> dict[PackId, int]:
    """Return the sealed packs on disk and their sizes, sorted."""
    found: dict[PackId, int] = {}
    for path in files_below(root / "packs", "*.pack"):
        if is_hex64(path.stem) and path.parent.name == path.stem[:2]:
            with disk_errors(path):
                found[PackId(path.stem)] = path.stat().st_size
    return found


def has_parts(root: Path) -> bool:
    """Return whether there are files of unsealed parts."""
    return bool(files_in(root / "open", "*.part"))


def remove_temporaries(root: Path) -> None:
    """Remove temporary files that killed writers left."""
    pattern = f"{TEMPORARY_PREFIX}*"
    folders = (root, root / "open")
    left = [path for folder in folders for path in files_in(folder, pattern)]
    for path in (*left, *files_below(root / "packs", pattern), *files_below(root / "hashes", pattern)):
        with disk_errors(path):
            os.unlink(path)  # noqa: PTH108  # the same call, with the name in errors


def files_below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files that match `pattern` in the two-character folders below `folder`."""
    for each in files_in(folder, "??"):
        yield from files_in(each, pattern)
