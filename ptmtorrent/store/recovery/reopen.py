"""Open the parts that earlier processes left: what is committed is trusted, what lies beyond is rechecked.

A part whose recorded hash of its last bytes is right continues at its committed length. Any other part, and one without
a record, is decoded object by object; if it is damaged before committed objects, it is salvaged to a new part.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ptmtorrent.disk.durable import disk_errors, files_in, sync_dir, sync_file
from ptmtorrent.errors import IntegrityError, PackMissing, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.index import Index
from ptmtorrent.store.pack.format import PACK_CLASSES, Entry, PackClass
from ptmtorrent.store.pack.reader import READ_BYTES, PackReader, files_below, open_pack, pack_in
from ptmtorrent.store.pack.writer import (
    HASH_BYTES,
    PIECE_BYTES,
    Part,
    PartState,
    PieceHasher,
    part_in,
    reopen_part,
    reopened_size,
    resume_part,
)
from ptmtorrent.store.recovery.quarantine import DamagedPart, cuts_committed, new_mark, salvage_part
from ptmtorrent.store.recovery.recheck import StoredObject, good_entries, has_header


class Reopened(NamedTuple):
    """A part, ready to be continued, and those of its objects that the index does not list for it yet."""

    part: Part
    fresh: Sequence[Entry]


class PartFile(NamedTuple):
    """A part on the disk, and its recorded state if its committed bytes are trusted."""

    path: Path
    pack_class: PackClass
    trusted: PartState | None


def find_parts(root: Path, index: Index) -> list[PartFile]:
    """Return the parts on the disk. A file that is a sealed pack too is no part: its name here is removed."""
    return [
        PartFile(path, pack_class, _trusted_state(path, pack_class, index.part_state(path.name)))
        for path, pack_class in _parts_on_disk(root)
    ]


def reopen_parts(
    root: Path,
    index: Index,
    pool: Executor,
    files: Sequence[PartFile],
    committed: Mapping[str, AbstractSet[Entry]],
) -> list[Reopened]:
    """Open `files` to be continued, all of them durable; `committed` are the objects that were listed, by part.

    Objects of trusted parts are still listed, those of the others no longer.
    """
    starts = {file.path.name: file.trusted.length for file in files if file.trusted is not None}
    with ExitStack() as stack:
        readers = {stack.enter_context(open_pack(file.path)): file for file in files}
        headed = [reader for reader, file in readers.items() if has_header(reader, file.pack_class)]
        stored = partial(stored_object, root, index, frozenset(starts))
        examined = [reader for reader in headed if starts.get(reader.path.name) != reader.size]
        kept = dict(zip(examined, good_entries(examined, stored, committed, starts), strict=True))
        reopen = _Reopen(root, index, pool, committed, partial(_object_beside, kept, stored))
        opened = (
            reopen.resume(reader, file, kept.get(reader, []))
            if file.trusted is not None
            else reopen.recheck(reader, file, kept.get(reader))
            for reader, file in readers.items()
        )
        return [each for each in opened if each is not None]


@dataclass(frozen=True)
class _Reopen:
    """How one part is opened."""

    root: Path
    index: Index
    pool: Executor
    committed: Mapping[str, AbstractSet[Entry]]
    read_base: StoredObject

    def resume(self, reader: PackReader, file: PartFile, beyond: list[Entry]) -> Reopened:
        """Continue a part after its committed bytes and the whole objects `beyond` them."""
        state = file.trusted
        if state is None:
            raise AssertionError("only a trusted part is resumed")
        end = beyond[-1].end if beyond else state.length
        if reader.size > end:
            with disk_errors(reader.path):
                os.truncate(reader.path, end)
        if beyond:
            with disk_errors(reader.path):
                sync_file(reader.path)
            state = _extended(reader, state, end, len(beyond))
        name = reader.path.name
        part = resume_part(
            reader.path, file.pack_class, state, self.pool, distrust=partial(_distrust, self.index, name)
        )
        return Reopened(part, beyond)

    def recheck(self, reader: PackReader, file: PartFile, kept: list[Entry] | None) -> Reopened | None:
        """Continue a part after the objects that are `kept`; salvage it if that would cut committed objects."""
        cut = 0 if kept is None else reopened_size(reader, kept)
        known = self.committed.get(reader.path.name, frozenset())
        part: Part | None = None
        if cuts_committed(reader.size, cut, known):
            target = part_in(self.root, file.pack_class, new_mark())
            damaged = DamagedPart(reader, file.pack_class, known)
            part = salvage_part(damaged, self.root, target, self.read_base, self.pool)
        elif kept is not None:
            part = reopen_part(reader, file.pack_class, kept, self.pool)
            part.sync()
        else:
            _remove(reader.path)
        return None if part is None else Reopened(part, part.entries)


def committed_in(root: Path, part: str, length: int | None) -> frozenset[Entry]:
    """Return the objects in the first `length` bytes of a part that were committed, when no index lists them any more.

    After damage only objects that hash to their ids count: records there may be forged.
    """
    path = root / "open" / part
    if length is None or not path.is_file():
        return frozenset()
    with suppress(IntegrityError, UnsupportedFormat), open_pack(path) as reader:
        found = (each for each in reader.scan() if each.entry.end <= length)
        return frozenset(each.entry for each in found if not each.after_damage or reader.holds(each.entry))
    return frozenset()


def stored_object(root: Path, index: Index, parts: AbstractSet[str], identifier: ObjectId) -> bytes | None:
    """Return a plain object from a sealed pack or one of the trusted `parts`; None if neither holds it."""
    found = index.find(identifier)
    if found is None or found.entry.base is not None or (found.pack is None and found.part not in parts):
        return None
    path = pack_in(root, found.pack) if found.pack is not None else root / "open" / str(found.part)
    with suppress(IntegrityError, UnsupportedFormat, PackMissing), open_pack(path) as reader:
        return reader.object(found.entry)
    return None


def _trusted_state(path: Path, pack_class: PackClass, state: PartState | None) -> PartState | None:
    """Return the recorded state of a part if the file has that length, and its last bytes the recorded hash."""
    if state is None or not state.is_possible:
        return None
    with suppress(IntegrityError), open_pack(path) as reader:
        if not has_header(reader, pack_class):
            return None
        rest = PieceHasher()
        rest.update(reader.read(state.rest_at, state.length - state.rest_at))
        whole = state.rest_at // PIECE_BYTES * HASH_BYTES
        if rest.hashes() == state.hashes[whole:] and reader.size >= state.length:
            return state
    return None


def _extended(reader: PackReader, state: PartState, end: int, objects: int) -> PartState:
    """Return the state of a part that was committed as `state` and ends at `end`, after `objects` more objects."""
    pieces = PieceHasher(state.hashes[: state.rest_at // PIECE_BYTES * HASH_BYTES])
    for at in range(state.rest_at, end, READ_BYTES):
        pieces.update(reader.read(at, min(READ_BYTES, end - at)))
    return PartState(length=end, objects=state.objects + objects, hashes=pieces.hashes())


def _distrust(index: Index, part: str) -> None:
    with index.transaction():
        index.distrust_part(part)


def _object_beside(
    kept: Mapping[PackReader, Sequence[Entry]], stored: StoredObject, identifier: ObjectId
) -> bytes | None:
    """Return a plain object that is kept or stored; None if neither."""
    for reader, entries in kept.items():
        for entry in entries:
            if entry.id == identifier and entry.base is None:
                return reader.object(entry)
    return stored(identifier)


def _parts_on_disk(root: Path) -> Iterator[tuple[Path, PackClass]]:
    by_name = {pack_class.name: pack_class for pack_class in PACK_CLASSES}
    for path in files_in(root / "open", "*.part"):
        pack_class = by_name.get(path.name.partition(".")[0])
        if pack_class is None or not path.is_file():
            continue
        if _is_sealed(root, path):
            _remove(path)
        else:
            yield path, pack_class


def _is_sealed(root: Path, part: Path) -> bool:
    """Return whether a part is also a sealed pack: after a power cut some filesystems keep both names of a moved file.

    Continuing such a part would truncate the pack.
    """
    with disk_errors(part):
        status = part.stat()
        return status.st_nlink > 1 and any(pack.samefile(part) for pack in files_below(root / "packs", "*.pack"))


def _remove(path: Path) -> None:
    with disk_errors(path):
        path.unlink()
    sync_dir(path.parent)
