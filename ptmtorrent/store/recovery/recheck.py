"""What of unsealed parts can be continued after a crash: every object before the first that is torn or damaged.

A delta needs its base, which may lie in another part: one part that is cut can take deltas of others with it. So parts
are checked together, until nothing more falls. What the index says of a part was durable when it was said: a delta that
it knows is kept where its base is gone, for whatever comes after it is whole, and packs come back.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import NamedTuple

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.pack.format import Entry, PackClass
from ptmtorrent.store.pack.reader import PackReader

_NOTHING: Mapping[str, AbstractSet[Entry]] = MappingProxyType({})

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


def good_entries(
    readers: Sequence[PackReader], sealed: SealedObject, committed: Mapping[str, AbstractSet[Entry]] = _NOTHING
) -> list[list[Entry]]:
    """Return, for each part, the objects that can be kept; `committed` are those the index knew, by the part's name."""
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
            may_wait = committed.get(reader.path.name, frozenset())
            at = {at for part, at in proven if part == number}
            good, found = _count_good(reader, entries, _Known(plain, sealed, may_wait), at)
            proven |= {(number, offset) for offset in found}
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


class _Known(NamedTuple):
    """Where bases may be: in parts, or in sealed packs; and which deltas may wait for one that is nowhere."""

    plain: dict[ObjectId, tuple[PackReader, Entry]]
    sealed: SealedObject
    may_wait: AbstractSet[Entry]


def _count_good(reader: PackReader, entries: Sequence[Entry], known: _Known, proven: set[int]) -> tuple[int, list[int]]:
    """Return how many entries come before the first delta that is damaged, or may not wait for its base.

    Also the offsets of those of them that were decoded, now or before: they are `proven`.
    """
    found: list[int] = []
    for number, entry in enumerate(entries):
        if entry.base is None:
            continue
        beside = known.plain.get(entry.base)
        if beside is not None and entry.offset in proven:
            found.append(entry.offset)
            continue
        base = beside[0].object(beside[1]) if beside is not None else known.sealed(entry.base)
        if base is None and entry in known.may_wait:
            continue
        if base is None or not (entry.offset in proven or reader.holds(entry, base)):
            return number, found
        found.append(entry.offset)
    return len(entries), found
