"""What of unsealed parts can be continued after a crash: every object before the first that is torn or damaged.

A delta needs its base, which may lie in another part: one part that is cut can take deltas of others with it. So parts
are checked together, until nothing more falls.
"""

from collections.abc import Callable, Sequence

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.classes import PackClass
from ptmtorrent.store.packs import PackReader
from ptmtorrent.store.records import Entry

SealedObject = Callable[[ObjectId], bytes | None]
"""Gives an object from a sealed pack; None when none holds it."""


def has_header(reader: PackReader, pack_class: PackClass) -> bool:
    """Tell whether a part begins as one of `pack_class` does.

    Raises:
        UnsupportedFormat: a newer version wrote it.
    """
    try:
        return reader.header()[0] == pack_class
    except IntegrityError:
        return False


def good_entries(readers: Sequence[PackReader], sealed: SealedObject) -> list[list[Entry]]:
    """Return, for each part, the objects that can be kept."""
    kept = [_whole_entries(reader) for reader in readers]
    proven: set[tuple[int, int]] = set()
    while True:
        plain = {
            entry.id: (reader, entry)
            for reader, entries in zip(readers, kept, strict=True)
            for entry in entries
            if entry.base is None
        }
        fell = False
        for number, (reader, entries) in enumerate(zip(readers, kept, strict=True)):
            good = _count_good(reader, entries, plain, sealed, {at for part, at in proven if part == number})
            proven |= {(number, entry.offset) for entry in entries[:good] if entry.base is not None}
            fell = fell or good < len(entries)
            del entries[good:]
        if not fell:
            return kept


def _whole_entries(reader: PackReader) -> list[Entry]:
    """Return the records before the first torn one or damaged plain object; deltas are taken at their word so far."""
    entries: list[Entry] = []
    for scanned in reader.scan():
        if scanned.after_damage or (scanned.entry.base is None and not reader.holds(scanned.entry)):
            break
        entries.append(scanned.entry)
    return entries


def _count_good(
    reader: PackReader,
    entries: Sequence[Entry],
    plain: dict[ObjectId, tuple[PackReader, Entry]],
    sealed: SealedObject,
    proven: set[int],
) -> int:
    """Return how many entries come before the first delta whose base is gone, or that is damaged."""
    for number, entry in enumerate(entries):
        if entry.base is None:
            continue
        beside = plain.get(entry.base)
        if beside is not None and entry.offset in proven:
            continue
        base = beside[0].object(beside[1]) if beside is not None else sealed(entry.base)
        if base is None or not (entry.offset in proven or reader.holds(entry, base)):
            return number
    return len(entries)
