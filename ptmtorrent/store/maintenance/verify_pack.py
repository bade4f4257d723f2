"""Verify one pack: every byte belongs to a named region, and damage is reported by region and object.

::

    header | record head, stored bytes | record head, stored bytes | ... | footer and trailer | padding

Offsets come from the footer if it is valid, else from the index and a forward scan together. Damage that belongs to no
known region (a lost record; stored bytes that differ and still decode to the same object) is reported as `bytes`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.pieces import alignment_of, padded
from ptmtorrent.model.plan import Extent
from ptmtorrent.model.torrents import SHA1_BYTES
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.hashes import PackHasher
from ptmtorrent.store.pack.reader import READ_BYTES, PackReader, ReadBase, local_bases, open_pack

MAX_INFO_BYTES = 1 << 20
"""Limit of the libraries and parameters in a footer (1 MiB)."""

_BAD = (IntegrityError, UnsupportedFormat, PackMissing)
"""Errors that reading a damaged region raises, including sectors that the disk cannot read."""

What = Literal["header", "record", "object", "footer", "padding", "bytes"]


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged extent of a pack, and the object it belongs to, if any. `record` is the header before an object."""

    what: What
    extent: Extent
    object: ObjectId | None = None


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pack before it is read: its size, its objects in the index, its stored hashes if any."""

    pack: PackId
    size: int
    entries: tuple[Entry, ...] = ()
    hashes: PackHashes | None = None


class CheckedPack(msgspec.Struct, frozen=True, kw_only=True):
    """The result of verifying a pack: its objects, the hashes of its actual bytes, and its damage.

    `unproven` objects could not be decoded (deltas without their base, newer codecs); their state is unknown.
    """

    hashes: PackHashes
    entries: tuple[Entry, ...]
    damages: tuple[Damage, ...]
    unproven: tuple[ObjectId, ...]

    @property
    def lost(self) -> tuple[ObjectId, ...]:
        """The objects whose stored bytes are damaged."""
        return tuple(damage.object for damage in self.damages if damage.what == "object" and damage.object)


def check_pack(path: Path, expected: Expectation, read_base: ReadBase, count: Callable[[int], None]) -> CheckedPack:
    """Read the pack at `path` twice: for its hashes, then to decode and hash every object. Memory: one object.

    `count` is called with the bytes processed, in total twice the size of the pack; it may raise to stop.

    Raises:
        StoreError: the file cannot be opened.
    """
    with open_pack(path) as reader:
        hashes = _hash(reader, expected, count)
        entries = find_entries(reader, expected)
        sound = hashes.pack == expected.pack and reader.size == expected.size
        damages = [] if sound else list(_check_shape(reader, entries, expected))
        unproven: list[ObjectId] = []
        bases = local_bases(reader, entries, read_base)
        for entry in entries:
            count(min(entry.stored, expected.size))
            try:
                base = None if entry.base is None else bases(entry.base)
                if entry.base is not None and base is None:
                    unproven.append(entry.id)
                    continue
                reader.object(entry, base)
            except UnsupportedFormat:
                if sound:  # a newer version wrote it; its bytes are right
                    unproven.append(entry.id)
                    continue
                damages.append(_object(entry))
            except _BAD:
                damages.append(_object(entry))
        count(max(0, expected.size - sum(entry.stored for entry in entries)))
    if not damages and not sound:
        damages = _differing(hashes, expected)
    damages.sort(key=lambda damage: damage.extent)
    return CheckedPack(hashes=hashes, entries=entries, damages=tuple(damages), unproven=tuple(unproven))


def find_entries(reader: PackReader, expected: Expectation) -> tuple[Entry, ...]:
    """Return the objects of a pack that may be damaged, by offset."""
    with suppress(*_BAD):
        return read_footer(reader)[0]
    with suppress(*_BAD):
        found = {
            scanned.entry.offset: scanned.entry
            for scanned in reader.scan()
            if not scanned.after_damage or reader.holds(scanned.entry)
        }
        found |= {entry.offset: entry for entry in expected.entries}
        return tuple(found[offset] for offset in sorted(found))
    return expected.entries


def read_footer(reader: PackReader) -> tuple[tuple[Entry, ...], Extent]:
    """Return the entries of the footer, and the extent of footer and trailer; the header is not read.

    Raises:
        IntegrityError, UnsupportedFormat, StoreError: the footer is damaged or cannot be read.
    """
    name = reader.path.name
    length = min(reader.size, alignment_of(reader.size) + pack_format.TRAILER_BYTES)
    end = reader.read(reader.size - length, length)
    offset, footer_bytes, checksum = pack_format.decode_trailer(end, reader.size, name)
    entries = pack_format.decode_footer(reader.read(offset, footer_bytes), checksum, offset, name)
    return entries, Extent(offset=offset, length=footer_bytes + pack_format.TRAILER_BYTES)


def record_start(entry: Entry) -> int:
    """Return the offset at which the record of `entry` begins."""
    return entry.offset - len(pack_format.encode_record(entry))


def differing_pieces(size: int, found: bytes, expected: bytes) -> list[Extent]:
    """Return the pieces in which two packs of `size` bytes differ, given the SHA-1 of each piece of both."""
    alignment = alignment_of(size)
    return [
        Extent(offset=at // SHA1_BYTES * alignment, length=alignment)
        for at in range(0, len(expected), SHA1_BYTES)
        if found[at : at + SHA1_BYTES] != expected[at : at + SHA1_BYTES]
    ]


def _hash(reader: PackReader, expected: Expectation, count: Callable[[int], None]) -> PackHashes:
    """Hash the expected number of bytes; unreadable and missing bytes count as zeros."""
    hasher = PackHasher()
    size = padded(max(1, expected.size))  # the file may be empty
    for at in range(0, size, READ_BYTES):
        wanted = min(READ_BYTES, size - at)
        data = b""
        with suppress(*_BAD):
            data = reader.read(at, max(0, min(wanted, reader.size - at)))
        hasher.update(data)
        hasher.update(bytes(wanted - len(data)))
        count(wanted)
    return hasher.finish("open" if expected.hashes is None else expected.hashes.rights)


def _check_shape(reader: PackReader, entries: Sequence[Entry], expected: Expectation) -> Iterator[Damage]:
    """Yield all damage outside the stored bytes of objects."""
    at = record_start(entries[0]) if entries else 0
    try:
        start = reader.header()[1]
    except _BAD:
        yield Damage(what="header", extent=Extent(offset=0, length=at))
        start = at
    at = start
    for entry in entries:
        begins = record_start(entry)
        if begins > at:
            yield Damage(what="bytes", extent=Extent(offset=at, length=begins - at))
        if _read(reader, begins, entry.offset - begins) != pack_format.encode_record(entry):
            extent = Extent(offset=begins, length=entry.offset - begins)
            yield Damage(what="record", extent=extent, object=entry.id)
        at = entry.end
    yield from _check_ending(reader, at, len(entries), expected)


def _check_ending(reader: PackReader, at: int, objects: int, expected: Expectation) -> Iterator[Damage]:
    """Yield the damage of footer, trailer and padding, which begin where the last record ends."""
    end = _footer_end(reader, at, objects)
    last = _last_byte(reader, at, expected.size)
    if end is None:
        yield Damage(what="footer" if objects else "bytes", extent=Extent(offset=at, length=max(1, last - at)))
    elif last > end:
        yield Damage(what="padding", extent=Extent(offset=end, length=last - end))
    if reader.size != expected.size:
        first, last = sorted((reader.size, expected.size))
        yield Damage(what="bytes", extent=Extent(offset=first, length=last - first))


def _footer_end(reader: PackReader, at: int, objects: int) -> int | None:
    """Return the end of the trailer after a footer of `objects` rows at byte `at`; None if it is damaged."""
    with suppress(*_BAD):
        info = int.from_bytes(reader.read(at, 8)[4:], "little")
        length = 8 + min(info, MAX_INFO_BYTES) + pack_format.ROW_BYTES * objects
        data = reader.read(at, length + pack_format.TRAILER_BYTES)
        offset, footer_bytes, checksum = pack_format.decode_trailer(data, reader.size, reader.path.name)
        if (offset, footer_bytes) == (at, length):
            pack_format.decode_footer(data[:length], checksum, at, reader.path.name)
            return at + len(data)
    return None


def _last_byte(reader: PackReader, at: int, size: int) -> int:
    """Return the end of the last readable byte from `at` on that is not zero; `at` if there is none."""
    end = min(reader.size, size)
    while end > at:
        start = max(at, end - READ_BYTES)
        if data := pack_format.strip_padding(_read(reader, start, end - start) or b""):
            return start + len(data)
        end = start
    return at


def _differing(found: PackHashes, expected: Expectation) -> list[Damage]:
    """Return the pieces that differ, according to the stored hashes; without a difference, the whole pack."""
    kept = expected.hashes
    extents = [] if kept is None else differing_pieces(expected.size, found.pieces_v1, kept.pieces_v1)
    extents = extents or [Extent(offset=0, length=expected.size)]
    return [Damage(what="bytes", extent=extent) for extent in extents]


def _object(entry: Entry) -> Damage:
    return Damage(what="object", extent=Extent(offset=entry.offset, length=entry.stored), object=entry.id)


def _read(reader: PackReader, offset: int, length: int) -> bytes | None:
    with suppress(*_BAD):
        return reader.read(offset, length)
    return None
