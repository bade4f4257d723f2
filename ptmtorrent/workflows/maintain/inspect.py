"""Inspect one pack or one unsealed part at a given level, and report its problems."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.text import spell_size
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.maintenance.quick_check import check_outline, check_sidecar, check_size
from ptmtorrent.store.maintenance.verify_pack import Damage, Expectation, check_pack, record_start
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import PackReader, ReadBase, local_bases, open_pack, pack_in

Level = Literal["quick", "normal", "data"]
"""`quick`: files and sizes. `normal`: headers, footers, stored hashes, manifests. `data`: every byte."""


MISSING = "its file is missing"
WORKERS = 2
"""Packs that are inspected in parallel; hashes and codecs release the GIL."""

AHEAD = 2
"""Packs that are queued beyond those."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one pack or part. `bytes_read` of `size` bytes were read; `lost` objects can no longer be read."""

    name: str
    size: int
    bytes_read: int = 0
    problems: tuple[str, ...] = ()
    damages: tuple[Damage, ...] = ()
    lost: tuple[ObjectId, ...] = ()
    unproven: tuple[ObjectId, ...] = ()


class InspectContext(msgspec.Struct, frozen=True):
    """What an inspection needs besides the pack.

    `is_stored` says whether the index lists an object in any pack, `read_base` reads the base of a delta, and
    `on_bytes` is called with the bytes processed; it may raise to stop.
    """

    level: Level
    is_stored: Callable[[ObjectId], bool]
    read_base: ReadBase
    on_bytes: Callable[[int], None]


def inspect_pack(root: Path, expected: Expectation, context: InspectContext) -> Inspection:
    """Inspect a sealed pack of the store at `root`."""
    name, path = str(expected.pack), pack_in(root, expected.pack)
    lost = tuple(entry.id for entry in expected.entries)
    try:
        wrong_size = check_size(path, expected)
        if context.level == "quick":
            return Inspection(name=name, size=expected.size, problems=() if wrong_size is None else (wrong_size,))
        problems = [problem for problem in (wrong_size, check_sidecar(root, expected)) if problem]
        if context.level == "normal":
            found, read = check_outline(path, expected, context.is_stored) if wrong_size is None else ([], 0)
            return Inspection(name=name, size=expected.size, bytes_read=read, problems=(*problems, *found))
        checked = check_pack(path, expected, context.read_base, context.on_bytes)
    except NotFound:
        return Inspection(name=name, size=expected.size, problems=(MISSING,), lost=lost)
    except StoreError as error:
        return Inspection(name=name, size=expected.size, problems=(error.message,), lost=lost)
    problems += [problem for problem in (_against_sidecar(checked.hashes, expected),) if problem]
    if not checked.damages and wrong_size is None:
        problems += check_outline(path, expected, context.is_stored)[0]
    return Inspection(
        name=name,
        size=expected.size,
        bytes_read=expected.size,
        problems=tuple(problems),
        damages=checked.damages,
        lost=checked.lost,
        unproven=checked.unproven,
    )


def inspect_packs(root: Path, expected: Iterable[Expectation], context: InspectContext) -> Iterator[Inspection]:
    """Inspect packs in parallel, a few at a time; yield the inspections in the order of the packs."""
    waiting: deque[Future[Inspection]] = deque()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="check") as pool:
        try:
            for pack in expected:
                waiting.append(pool.submit(inspect_pack, root, pack, context))
                if len(waiting) >= WORKERS + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def inspect_part(path: Path, known: Sequence[Entry], context: InspectContext) -> Inspection:
    """Inspect the records of an unsealed part, and its objects at level `data`.

    A torn end is not damage: a writer was interrupted, and those bytes were never committed.
    """
    with open_pack(path) as reader:
        if context.level == "quick":
            return Inspection(name=path.name, size=reader.size)
        try:
            reader.header()
        except (IntegrityError, UnsupportedFormat) as error:
            lost = tuple(entry.id for entry in known)
            return Inspection(name=path.name, size=reader.size, problems=(error.message,), lost=lost)
        found = list(reader.scan())
        entries = {scanned.entry.id: scanned.entry for scanned in found}
        records = {scanned.entry for scanned in found}  # an interrupted repair may have stored an object twice
        missing = {entry.id for entry in known if entry not in records}
        read = sum(entry.offset - record_start(entry) for entry in entries.values())
        if context.level == "data":
            read = reader.size
            bases = local_bases(reader, tuple(entries.values()), context.read_base)
            missing |= {entry.id for entry in entries.values() if not _holds(reader, entry, bases, context)}
        torn = any(scanned.after_damage for scanned in found)
        problems = ("bytes between its records are damaged",) if torn else ()
        return Inspection(
            name=path.name, size=reader.size, bytes_read=read, problems=problems, lost=tuple(sorted(missing))
        )


def describe(inspected: Inspection) -> list[str]:
    """Return the problems as messages; objects are named by their ids."""
    named = [*inspected.problems]
    for damage in inspected.damages:
        if damage.what == "object":
            named.append(f"the object `{damage.object}` is damaged")
        elif damage.what == "record":
            named.append(f"the record of the object `{damage.object}` is damaged")
        elif damage.what == "bytes":
            size, offset = spell_size(damage.extent.length), damage.extent.offset
            named.append(f"{size} at byte {offset} differ from what was written")
        else:
            named.append(_DAMAGED_PARTS[damage.what])
    if not inspected.damages:
        named += [f"the object `{identifier}` is lost" for identifier in inspected.lost]
    return named


_DAMAGED_PARTS = {
    "header": "its header is damaged",
    "footer": "its footer is damaged",
    "padding": "its padding is not all zeros",
}


def _holds(reader: PackReader, entry: Entry, bases: ReadBase, context: InspectContext) -> bool:
    context.on_bytes(entry.stored * 2)
    if entry.base is None:
        return reader.holds(entry)
    base = bases(entry.base)
    return base is not None and reader.holds(entry, base)


def _against_sidecar(found: PackHashes, expected: Expectation) -> str | None:
    kept = expected.hashes
    if kept is None or found.pack != expected.pack:
        return None
    same = (found.pieces_v1, found.root_v2, found.layer_v2) == (kept.pieces_v1, kept.root_v2, kept.layer_v2)
    return None if same else "its stored hashes do not match its bytes"
