"""Looks at one pack or one part, as closely as was asked, and says what is wrong with it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.errors import IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.maintenance.quick_check import check_outline, check_sidecar, check_size
from ptmtorrent.store.maintenance.verify_pack import (
    Damage,
    Expectation,
    ReadBase,
    check_pack,
    local_bases,
    record_start,
)
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.pack.reader import PackReader, open_pack, pack_in

Level = Literal["quick", "normal", "data"]
"""`quick`: files and sizes. `normal`: headers, footers, hashes kept, manifests. `data`: every byte."""


MISSING = "its file is missing"
WORKERS = 2
"""Packs that are inspected in parallel; hashes and codecs release the GIL."""

AHEAD = 2


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a pack or part found. `read` are bytes; `lost` objects cannot be read any more."""

    name: str
    size: int
    read: int = 0
    problems: tuple[str, ...] = ()
    damages: tuple[Damage, ...] = ()
    lost: tuple[ObjectId, ...] = ()
    unproven: tuple[ObjectId, ...] = ()


class Glass(msgspec.Struct, frozen=True):
    """What a look needs besides the pack: how close, whether the index has an object elsewhere, bases, a counter."""

    level: Level
    is_here: Callable[[ObjectId], bool]
    read_base: ReadBase
    count: Callable[[int], None]


def look_at_pack(root: Path, expected: Expectation, glass: Glass) -> Looked:
    """Look at a sealed pack of the store at `root`."""
    name, path = str(expected.pack), pack_in(root, expected.pack)
    lost = tuple(entry.id for entry in expected.entries)
    try:
        wrong_size = check_size(path, expected)
        if glass.level == "quick":
            return Looked(name=name, size=expected.size, problems=() if wrong_size is None else (wrong_size,))
        problems = [problem for problem in (wrong_size, check_sidecar(root, expected)) if problem]
        if glass.level == "normal":
            found, read = check_outline(path, expected, glass.is_here) if wrong_size is None else ([], 0)
            return Looked(name=name, size=expected.size, read=read, problems=(*problems, *found))
        checked = check_pack(path, expected, glass.read_base, glass.count)
    except NotFound:
        return Looked(name=name, size=expected.size, problems=(MISSING,), lost=lost)
    except StoreError as error:
        return Looked(name=name, size=expected.size, problems=(error.message,), lost=lost)
    problems += [problem for problem in (_against_sidecar(checked.hashes, expected),) if problem]
    if not checked.damages and wrong_size is None:
        problems += check_outline(path, expected, glass.is_here)[0]
    return Looked(
        name=name,
        size=expected.size,
        read=expected.size,
        problems=tuple(problems),
        damages=checked.damages,
        lost=checked.lost,
        unproven=checked.unproven,
    )


def look_at_packs(root: Path, expected: Iterable[Expectation], glass: Glass) -> Iterator[Looked]:
    """Look at packs side by side, a few at a time; yield what was found in their order."""
    waiting: deque[Future[Looked]] = deque()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="check") as pool:
        try:
            for pack in expected:
                waiting.append(pool.submit(look_at_pack, root, pack, glass))
                if len(waiting) >= WORKERS + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def look_at_part(path: Path, known: Sequence[Entry], glass: Glass) -> Looked:
    """Look at an unsealed part: its records, and with `data` its objects. A torn end is no damage: it is unfinished."""
    with open_pack(path) as reader:
        if glass.level == "quick":
            return Looked(name=path.name, size=reader.size)
        try:
            reader.header()
        except (IntegrityError, UnsupportedFormat) as error:
            lost = tuple(entry.id for entry in known)
            return Looked(name=path.name, size=reader.size, problems=(error.message,), lost=lost)
        found = list(reader.scan())
        entries = {scanned.entry.id: scanned.entry for scanned in found}
        records = {scanned.entry for scanned in found}  # a repair that was interrupted may have put an object twice
        missing = {entry.id for entry in known if entry not in records}
        read = sum(entry.offset - record_start(entry) for entry in entries.values())
        if glass.level == "data":
            read = reader.size
            bases = local_bases(reader, tuple(entries.values()), glass.read_base)
            missing |= {entry.id for entry in entries.values() if not _holds(reader, entry, bases, glass)}
        torn = any(scanned.after_damage for scanned in found)
        problems = ("bytes between its records are damaged",) if torn else ()
        return Looked(name=path.name, size=reader.size, read=read, problems=problems, lost=tuple(sorted(missing)))


def describe(looked: Looked) -> list[str]:
    """Return what is wrong, in words, the objects by their ids."""
    named = [*looked.problems]
    for damage in looked.damages:
        where = f"{damage.extent.length} bytes from byte {damage.extent.offset} on"
        if damage.what == "object":
            named.append(f"the object `{damage.object}` is damaged")
        elif damage.what == "record":
            named.append(f"the record of the object `{damage.object}` is damaged")
        else:
            named.append(f"{'its ' + damage.what if damage.what != 'bytes' else where} {_VERB[damage.what]}")
    if not looked.damages:
        named += [f"the object `{identifier}` is lost" for identifier in looked.lost]
    return named


_VERB = {"header": "is damaged", "footer": "is damaged", "padding": "is not zeros", "bytes": "are not those written"}


def _holds(reader: PackReader, entry: Entry, bases: ReadBase, glass: Glass) -> bool:
    glass.count(entry.stored * 2)
    if entry.base is None:
        return reader.holds(entry)
    base = bases(entry.base)
    return base is not None and reader.holds(entry, base)


def _against_sidecar(found: PackHashes, expected: Expectation) -> str | None:
    kept = expected.hashes
    if kept is None or found.pack != expected.pack:
        return None
    same = (found.pieces_v1, found.root_v2, found.layer_v2) == (kept.pieces_v1, kept.root_v2, kept.layer_v2)
    return None if same else "the hashes that are kept of it are not its own"
