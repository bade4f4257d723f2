"""A draft: a copy of a damaged pack that is patched, and that replaces the pack once it hashes to the pack's name.

Much of a pack can be rebuilt locally: record headers from the footer or the index, the padding always, header and
footer by trying a few possibilities. Only the stored bytes of objects must come from a source.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.disk.durable import (
    disk_error,
    disk_errors,
    ensure_dir,
    new_temporary,
    open_regular,
    publish_file,
    write_all,
)
from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pieces import alignment_of
from ptmtorrent.model.plan import Extent
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs
from ptmtorrent.store.maintenance.verify_pack import CheckedPack, Damage
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import PACK_CLASSES, PackInfo
from ptmtorrent.store.pack.hashes import PackHasher
from ptmtorrent.store.pack.reader import READ_BYTES, PackReader, open_pack

Patch = tuple[int, bytes]
"""An offset in the pack, and the bytes that belong there."""

_MAX_INFO_BYTES = 1 << 20
_SECTOR_BYTES = 64 << 10
"""Bytes that are skipped around an unreadable sector."""

_BAD = (IntegrityError, UnsupportedFormat, PackMissing)


class Draft:
    """A copy of a pack under a temporary name beside its target. It is not visible before `publish`."""

    def __init__(self, path: Path, target: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.is_broken = False
        """Whether writing the draft failed; then other sources are useless."""
        self._target = target

    def write(self, patches: Iterable[Patch]) -> None:
        """Write patches; bytes beyond the size of the pack are ignored.

        Raises:
            NoSpace: the disk is full.
            StoreError: any other failure.
        """
        try:
            descriptor = os.open(self.path, os.O_WRONLY)
            try:
                for offset, data in patches:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                    write_all(descriptor, data[: max(0, self.size - offset)])
            finally:
                os.close(descriptor)
        except OSError as error:
            self.is_broken = True
            raise disk_error(error, self.path) from error

    def name(self) -> PackId:
        """Return the name that a pack with these bytes has."""
        with disk_errors(self.path):
            return PackId(blake3().update_mmap(self.path).hexdigest())

    def hashes(self, rights: Rights) -> PackHashes:
        """Return all hashes of these bytes."""
        hasher = PackHasher()
        with open_pack(self.path) as reader:
            for at in range(0, self.size, READ_BYTES):
                hasher.update(reader.read(at, min(READ_BYTES, self.size - at)))
        return hasher.finish(rights)

    def publish(self) -> None:
        """Move the draft to its target, durably."""
        publish_file(self.path, self._target)


@contextmanager
def new_draft(source: Path | None, target: Path, size: int) -> Iterator[Draft]:
    """Yield a draft of `size` bytes for `target`: a copy of `source`, or zeros. It is removed unless it is published.

    Raises:
        NoSpace: the disk is full; the bytes needed are named.
        StoreError: it cannot be written.
    """
    ensure_dir(target.parent, sure=True)
    temporary = new_temporary(target)
    try:
        with disk_errors(target, size):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                if source is not None:
                    _copy(source, descriptor, size)
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)
        yield Draft(temporary, target, size)
    finally:
        with suppress(OSError):
            temporary.unlink()


def rebuildable_patches(checked: CheckedPack) -> list[Patch]:
    """Return patches that are certain: the record headers of known objects, and the padding."""
    heads = {entry.id: pack_format.encode_record(entry) for entry in checked.entries}
    patches: list[Patch] = []
    for damage in checked.damages:
        if damage.what == "record" and damage.object in heads:
            patches.append((damage.extent.offset, heads[damage.object]))
        elif damage.what == "padding":
            patches.append((damage.extent.offset, bytes(damage.extent.length)))
    return patches


def possible_patches(path: Path, checked: CheckedPack, size: int, infos: Sequence[PackInfo]) -> Iterator[list[Patch]]:
    """Yield possible headers and footers, one combination at a time.

    `infos` are the libraries and parameters of other packs of the store.
    """
    headers = [patch for damage in checked.damages if damage.what == "header" for patch in _headers(damage)]
    footers: list[Patch] = []
    for damage in checked.damages:
        if damage.what == "footer":
            with open_pack(path) as reader:
                footers += _footers(reader, damage, checked, size, infos)
    for header in [[patch] for patch in headers] or [[]]:
        for footer in [[patch] for patch in footers] or [[]]:
            if header or footer:
                yield [*header, *footer]


def missing_extents(checked: CheckedPack, size: int) -> list[Extent]:
    """Return the extents that must come from a source: disjoint, in order, none beyond `size`."""
    wanted = [damage.extent for damage in checked.damages if damage.what in {"object", "header", "footer", "bytes"}]
    extents: list[Extent] = []
    at = 0
    for extent in sorted(wanted):
        start, end = max(extent.offset, at), min(extent.end, size)
        if start < end:
            extents.append(Extent(offset=start, length=end - start))
            at = end
    return extents


def read_pack_info(path: Path) -> PackInfo | None:
    """Return the libraries and parameters in the footer of a pack; None if they cannot be read."""
    with suppress(*_BAD), open_pack(path) as reader:
        length = min(reader.size, alignment_of(reader.size) + pack_format.TRAILER_BYTES)
        offset, _, _ = pack_format.decode_trailer(reader.read(reader.size - length, length), reader.size, path.name)
        return _info_at(reader, offset)
    return None


def _copy(source: Path, descriptor: int, size: int) -> None:
    """Copy the readable bytes of `source`; unreadable sectors become zeros. Raises `OSError`.

    If the filesystem supports it, the copy shares the blocks of `source`.
    """
    original = open_regular(source)
    try:
        done = 0
        with suppress(OSError):
            while done < size and (count := os.copy_file_range(original, descriptor, min(size - done, 1 << 30))):
                done += count
        while done < size:
            data = b""
            wanted = min(_SECTOR_BYTES, size - done)
            with suppress(OSError):
                data = os.pread(original, wanted, done)
            os.lseek(descriptor, done, os.SEEK_SET)
            write_all(descriptor, data)
            done += wanted
    finally:
        os.close(original)


def _headers(damage: Damage) -> Iterator[Patch]:
    for pack_class in PACK_CLASSES:
        header = pack_format.encode_header(pack_class)
        if len(header) == damage.extent.length:
            yield 0, header


def _footers(
    reader: PackReader, damage: Damage, checked: CheckedPack, size: int, infos: Sequence[PackInfo]
) -> Iterator[Patch]:
    own = _info_at(reader, damage.extent.offset)
    current = PackInfo(libraries=codecs.versions(), parameters=codecs.parameters())
    tried: list[PackInfo] = []
    for info in (own, *infos, current):
        if info is not None and info not in tried:
            tried.append(info)
            footer = pack_format.encode_footer(checked.entries, info, damage.extent.offset)
            if damage.extent.offset + len(footer) <= size:
                yield damage.extent.offset, footer + bytes(max(0, damage.extent.length - len(footer)))


def _info_at(reader: PackReader, offset: int) -> PackInfo | None:
    """Return the info at the start of a footer, the rest of which may be damaged."""
    with suppress(*_BAD, msgspec.MsgspecError, UnicodeDecodeError):
        length = int.from_bytes(reader.read(offset + 4, 4), "little")
        return decode_json(reader.read(offset + 8, min(length, _MAX_INFO_BYTES)), PackInfo)
    return None
