"""Find what can be kept of unsealed parts after a crash: every object before the first that is torn or damaged.

A delta may have its base in another part, so cutting one part can make deltas of others unreadable. Parts are therefore
checked together, repeatedly, until nothing more is cut. Objects that the index lists were durable when they were
indexed: a listed delta is kept even without its base, because the objects after it are whole and the pack of its base
may come back.
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
_NOWHERE: Mapping[str, int] = MappingProxyType({})

StoredObject = Callable[[ObjectId], bytes | None]
"""Returns a plain object from a sealed pack or the committed bytes of a part; None if neither holds it."""


def has_header(reader: PackReader, pack_class: PackClass) -> bool:
    """Return whether a part begins with the header of `pack_class`.

    Raises:
        UnsupportedFormat: a newer version wrote it.
    """
    try:
        return reader.header()[0] == pack_class
    except IntegrityError:
        return False


def good_entries(
    readers: Sequence[PackReader],
    stored: StoredObject,
    committed: Mapping[str, AbstractSet[Entry]] = _NOTHING,
    starts: Mapping[str, int] = _NOWHERE,
) -> list[list[Entry]]:
    """Return the objects of each part that can be kept; `committed` are those in the index, by the name of the part.

    Of a part in `starts` only the records from that byte on are examined and returned: those before are trusted.
    """
    kept = [_whole_entries(reader, starts.get(reader.path.name, 0)) for reader in readers]
    proven: set[tuple[int, int]] = set()
    while True:
        plain = {
            entry.id: (reader, entry)
            for reader, entries in zip(readers, kept, strict=True)
            for entry in entries
            if entry.base is None
        }
        shrank = False
        for number, (reader, entries) in enumerate(zip(readers, kept, strict=True)):
            may_lack_base = committed.get(reader.path.name, frozenset())
            at = {at for part, at in proven if part == number}
            good, found = _count_good(reader, entries, _Known(plain, stored, may_lack_base), at)
            proven |= {(number, offset) for offset in found}
            shrank = shrank or good < len(entries)
            del entries[good:]
        if not shrank:
            return kept


def _whole_entries(reader: PackReader, start: int) -> list[Entry]:
    """Return the records before the first torn record or damaged plain object; deltas are not verified yet."""
    entries: list[Entry] = []
    for scanned in reader.scan(start):
        if scanned.after_damage or (scanned.entry.base is None and not reader.holds(scanned.entry)):
            break
        entries.append(scanned.entry)
    return entries


class _Known(NamedTuple):
    """Where bases can be read: in what is examined or in what is stored; and the deltas that may lack their base."""

    plain: dict[ObjectId, tuple[PackReader, Entry]]
    stored: StoredObject
    may_lack_base: AbstractSet[Entry]


def _count_good(reader: PackReader, entries: Sequence[Entry], known: _Known, proven: set[int]) -> tuple[int, list[int]]:
    """Return how many entries precede the first delta that is damaged or lacks its base without permission.

    Also return the offsets of the deltas among them that were decoded, now or in an earlier round (`proven`).
    """
    found: list[int] = []
    for number, entry in enumerate(entries):
        if entry.base is None:
            continue
        beside = known.plain.get(entry.base)
        if beside is not None and entry.offset in proven:
            found.append(entry.offset)
            continue
        base = beside[0].object(beside[1]) if beside is not None else known.stored(entry.base)
        if base is None and entry in known.may_lack_base:
            continue
        if base is None or not (entry.offset in proven or reader.holds(entry, base)):
            return number, found
        found.append(entry.offset)
    return len(entries), found
