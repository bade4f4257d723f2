"""What is done at opening about a part that is damaged before objects the index knew: they are saved, the file is kept.

A torn end is no damage: nothing was promised of it. Where objects that were committed lie behind the first bad record,
whatever of the part still hashes to its id goes, as it is stored, to a fresh part; that is durable before the damaged
file moves to `damaged/`. A crash in between leaves some objects twice, and the next opening begins again.
"""

import secrets
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, name_file, new_temporary, sync_dir
from ptmtorrent.store.maintenance.verify_pack import ReadBase, local_bases
from ptmtorrent.store.pack.classes import PackClass
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import PackReader
from ptmtorrent.store.pack.writer import Part, new_part

DAMAGED = "damaged"
"""The folder of a store for damaged files that nothing reads any more."""


class DamagedPart(msgspec.Struct, frozen=True):
    """A part with a bad record before objects that were `committed`, the index's word for what lies in it."""

    reader: PackReader
    pack_class: PackClass
    committed: AbstractSet[Entry]


def cuts_committed(size: int, cut: int, committed: Iterable[Entry]) -> bool:
    """Tell whether cutting a part of `size` bytes at byte `cut` would take objects that were committed with it.

    What a part that was cut short has lost already is not behind anything.
    """
    return any(cut < entry.end <= size for entry in committed)


def salvage_part(damaged: DamagedPart, root: Path, target: Path, read_base: ReadBase, pool: Executor) -> Part | None:
    """Move what is whole in a damaged part to a fresh one named `target`; put its file aside in the store at `root`.

    Returns the fresh part, ready to be continued; None when nothing is whole. A delta that was committed is taken at
    the index's word where its base is gone, as ever; such deltas come last, so that nothing can be lost behind them.

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
    """Return a mark that tells a new part from all others."""
    return secrets.token_hex(4)


def _whole(damaged: DamagedPart, read_base: ReadBase) -> Iterator[Entry]:
    """Yield each object once: first those that hash to their ids, then deltas that wait for their base."""
    reader = damaged.reader
    found = {scanned.entry.offset: scanned.entry for scanned in reader.scan()}
    # The record of an object may be what is damaged: the index knows where it lies.
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
    """Move a part to `damaged/`, durably, beside those of its name that are there."""
    folder = root / DAMAGED
    ensure_dir(folder, sure=True)
    names = (path.name, *(f"{path.stem}.{number}{path.suffix}" for number in range(1, 1 << 16)))
    target = next(folder / name for name in names if not (folder / name).exists())
    with disk_errors(path):
        path.replace(target)
    sync_dir(folder)
    sync_dir(path.parent)
