"""Salvage a part that is damaged before committed objects, when the store is opened for writing.

A torn end is not damage: those bytes were never committed. If committed objects follow the first bad record, all
objects that still hash to their ids are copied, in stored form, to a new part, which is durable before the damaged file
moves to `damaged/`. A crash in between leaves some objects twice; opening the store again starts over.
"""

import secrets
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, name_file, new_temporary, sync_dir
from ptmtorrent.store.pack.format import Entry, PackClass
from ptmtorrent.store.pack.reader import PackReader, ReadBase, local_bases
from ptmtorrent.store.pack.writer import Part, new_part

DAMAGED = "damaged"
"""The folder of a store for damaged files; no component reads it."""


class DamagedPart(msgspec.Struct, frozen=True):
    """A part with a bad record before `committed` objects, the entries that the index lists for it."""

    reader: PackReader
    pack_class: PackClass
    committed: AbstractSet[Entry]


def cuts_committed(size: int, cut: int, committed: Iterable[Entry]) -> bool:
    """Return whether cutting a part of `size` bytes at byte `cut` would remove committed objects.

    Objects beyond the end of the file are lost already and do not count.
    """
    return any(cut < entry.end <= size for entry in committed)


def salvage_part(damaged: DamagedPart, root: Path, target: Path, read_base: ReadBase, pool: Executor) -> Part | None:
    """Copy the whole objects of a damaged part to a new part at `target`; move its file to `damaged/` of the store.

    Return the new part, ready to be continued; None if no object is whole. A committed delta whose base is missing
    cannot be verified and is kept; such deltas are copied last, so that a later cut at one of them loses nothing else.

    Raises:
        NoSpace: the disk is full; nothing changed.
        StoreError: any other failure.
    """
    reader = damaged.reader
    part = None
    if kept := [*_whole(damaged, read_base)]:
        part = new_part(new_temporary(target), damaged.pack_class, pool)
        try:
            for entry in kept:
                part.append(entry, [reader.read(entry.offset, entry.stored)])
            part.sync()
            name_file(part.path, target)
        except BaseException:
            part.close()
            with suppress(OSError):
                part.path.unlink()
            raise
        part.path = target
    _quarantine(root, reader.path)
    return part


def new_mark() -> str:
    """Return a mark that makes the name of a part unique."""
    return secrets.token_hex(4)


def _whole(damaged: DamagedPart, read_base: ReadBase) -> Iterator[Entry]:
    """Yield each object once: first those that hash to their ids, then committed deltas without their base."""
    reader = damaged.reader
    found = {scanned.entry.offset: scanned.entry for scanned in reader.scan()}
    # If the record of an object is damaged, the index still has its offset.
    found |= {entry.offset: entry for entry in damaged.committed if entry.end <= reader.size}
    entries = [found[offset] for offset in sorted(found)]
    bases = local_bases(reader, entries, read_base)
    waiting: list[Entry] = []
    seen: set[str] = set()
    for entry in entries:
        base = None if entry.base is None else bases(entry.base)
        if entry.id in seen:
            continue
        if entry.base is not None and base is None:
            waiting += [entry] if entry in damaged.committed else []
        elif reader.holds(entry, base):
            seen.add(entry.id)
            yield entry
    yield from (entry for entry in waiting if entry.id not in seen)


def _quarantine(root: Path, path: Path) -> None:
    """Move a part to `damaged/`, durably, under a name that is not taken."""
    folder = root / DAMAGED
    ensure_dir(folder, sure=True)
    names = (path.name, *(f"{path.stem}.{number}{path.suffix}" for number in range(1, 1 << 16)))
    target = next(folder / name for name in names if not (folder / name).exists())
    with disk_errors(path):
        path.replace(target)
    sync_dir(folder)
    sync_dir(path.parent)
