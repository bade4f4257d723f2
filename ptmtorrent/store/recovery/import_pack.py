"""Import a pack from a channel: verify all of it, then move it into the store and index it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import ensure_dir, publish_file
from ptmtorrent.errors import IntegrityError, PtmError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.text import spell_size
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.index import STAGED_ROWS, Index
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.hashes import write_sidecar
from ptmtorrent.store.pack.reader import PackReader, hash_pack, open_pack, pack_in
from ptmtorrent.store.recovery.reindex import add_pack

MAX_RAW_PER_BYTE = 64
"""Limit of raw bytes per byte of an adopted pack; zeros could be stored 30,000 times smaller."""

SPARE_RAW_BYTES = 1 << 30
"""Raw bytes allowed beyond that limit (1 GiB), because small packs are mostly padding."""


class CheckedImport(msgspec.Struct, frozen=True):
    """A verified pack: its hashes, and the objects that can be read in this store."""

    hashes: PackHashes
    entries: list[Entry]


def check(path: Path, pack: PackId, read: Callable[[ObjectId], bytes]) -> CheckedImport:
    """Verify all of the pack at `path`; `read` returns objects of the store that may be bases.

    Raises:
        IntegrityError: the bytes do not hash to `pack` or are not a pack, it lists an object that it does not hold, or
            its raw size exceeds the limits above.
        UnsupportedFormat: it needs a newer version.
    """
    hashes = hash_pack(path, pack)
    with open_pack(path) as reader:
        entries = list(reader.footer())
        _refuse_bomb(pack, hashes.size, entries)
        if any(found is None or found.entry != entry for found, entry in zip_longest(reader.scan(), entries)):
            raise IntegrityError(f"the footer of the pack `{pack}` does not match its records")
        return CheckedImport(hashes, _readable(reader, entries, read))


def adopt(root: Path, index: Index, path: Path, checked: CheckedImport) -> None:
    """Move a verified pack into the store at `root` and index it, durably."""
    pack = checked.hashes.pack
    target = pack_in(root, pack)
    if pack not in index.packs():
        write_sidecar(root, checked.hashes, own=False)
    ensure_dir(target.parent, sure=True)
    publish_file(path, target)
    with index.transaction():
        add_pack(index, checked.hashes, checked.entries)
    index.settle(STAGED_ROWS)


def _refuse_bomb(pack: PackId, size: int, entries: Sequence[Entry]) -> None:
    """Raise `IntegrityError`, before anything is decoded, if the raw size is out of proportion."""
    raw = sum(entry.raw for entry in entries)
    if raw > size * MAX_RAW_PER_BYTE + SPARE_RAW_BYTES:
        sizes = f"{spell_size(size)} would unpack to {spell_size(raw)}"
        raise IntegrityError(f"the pack `{pack}` of {sizes}, more than any real pack")


def _readable(reader: PackReader, entries: Sequence[Entry], read: Callable[[ObjectId], bytes]) -> list[Entry]:
    """Decode every object; omit deltas whose base is neither in the pack nor in the store."""
    plain = {entry.id: entry for entry in entries if entry.base is None}
    readable: list[Entry] = []
    for entry in entries:
        base: bytes | None = None
        if entry.base is not None:
            with suppress(PtmError):
                base = reader.object(plain[entry.base]) if entry.base in plain else read(entry.base)
            if base is None:
                continue
        reader.object(entry, base)
        readable.append(entry)
    return readable
