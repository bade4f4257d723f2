"""Objects in columns: what looks at many of them makes no value of Python for each."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import Entry

Ids = npt.NDArray[np.uint64]
"""Ids of objects, four words each."""

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]

UNLISTED = -1
"""The number of the pack of an object that has to be looked up by itself."""


class EntryColumns(NamedTuple):
    """The objects of a pack, by offset: `lengths` are those of the stored bytes; the rows `deltas` have `bases`."""

    ids: Ids
    offsets: Numbers
    lengths: Numbers
    deltas: Numbers
    bases: Ids


class PlaceColumns(NamedTuple):
    """Where objects lie, in the order in which they were asked for: `pack` is the number of the pack.

    It is `UNLISTED` for objects that no sealed pack lists, and for deltas.
    """

    pack: Numbers
    offset: Numbers
    length: Numbers
    codec: Numbers


def ids_of(identifiers: Iterable[str]) -> Ids:
    """Return ids in hex as a column."""
    return as_ids(bytes.fromhex("".join(identifiers)))


def as_ids(data: bytes) -> Ids:
    """Return ids, one after the other, as a column."""
    ids: Ids = np.frombuffer(data, dtype="<u8").reshape(-1, 4)
    return ids


def hex_ids(ids: Ids) -> list[str]:
    """Return a column of ids in hex."""
    data = ids.astype("<u8").tobytes().hex()
    return [data[at : at + 64] for at in range(0, len(data), 64)]


def columns_of(entries: Sequence[Entry]) -> EntryColumns:
    """Return objects, by offset, in columns."""
    deltas = [row for row, entry in enumerate(entries) if entry.base is not None]
    return EntryColumns(
        ids=ids_of(entry.id for entry in entries),
        offsets=np.array([entry.offset for entry in entries], dtype=np.int64),
        lengths=np.array([entry.stored for entry in entries], dtype=np.int64),
        deltas=np.array(deltas, dtype=np.int64),
        bases=ids_of(entries[row].base or "" for row in deltas),
    )


def join_columns(found: Sequence[EntryColumns]) -> EntryColumns:
    """Return the objects of several columns of one pack, by offset."""
    offsets = np.concatenate([columns.offsets for columns in found])
    by_offset = np.argsort(offsets, kind="stable")
    place = np.empty(len(by_offset), dtype=np.int64)
    place[by_offset] = np.arange(len(by_offset))
    starts = np.cumsum([0, *(len(columns.ids) for columns in found[:-1])])
    deltas = place[np.concatenate([columns.deltas + at for columns, at in zip(found, starts, strict=True)])]
    by_place = np.argsort(deltas)
    return EntryColumns(
        ids=np.concatenate([columns.ids for columns in found])[by_offset],
        offsets=offsets[by_offset],
        lengths=np.concatenate([columns.lengths for columns in found])[by_offset],
        deltas=deltas[by_place],
        bases=np.concatenate([columns.bases for columns in found])[by_place],
    )


def end_of_records(columns: EntryColumns, start: int) -> int | None:
    """Return the byte after these objects, the first record at byte `start`; None if other bytes lie between them."""
    heads = np.full(len(columns.ids), pack_format.RECORD_BYTES, dtype=np.int64)
    heads[columns.deltas] = pack_format.MAX_RECORD_BYTES
    ends = np.append(start, columns.offsets.astype(np.int64) + columns.lengths)
    return int(ends[-1]) if (columns.offsets == ends[:-1] + heads).all() else None
