"""`gc.json`: unreferenced packs and when they were found; they are deleted after a grace period.

`waited` are the seconds of it that have passed at the `last` run, which no step of the clock makes more (disk/elapsed).
Earlier versions recorded neither; the grace period of their marks starts again ::

    {"dead":[["ab12...","2026-11-20T12:00:00Z"]],"format":"ptmtorrent/store-marks",
     "last":{"boot":"6f05...","moment":"2026-11-21T12:00:00Z","uptime":15869},"requires":[],"version":1,
     "waited":[["ab12...",86400]]}
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import msgspec

from ptmtorrent.disk.durable import disk_errors, read_regular, write_file
from ptmtorrent.disk.elapsed import Instant, elapsed_seconds
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId

MARKS_NAME = "gc.json"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The time at which a pack was first found dead, and the seconds that have passed since."""

    since: str
    waited: int = 0


class Marks(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """Dead packs, sorted, each with the time at which it was first found dead; the last run, and the seconds waited."""

    FORMAT: ClassVar[str] = "ptmtorrent/store-marks"

    dead: tuple[tuple[PackId, str], ...]
    last: Instant | None = None
    waited: tuple[tuple[PackId, int], ...] = ()


def read_marks(root: Path) -> dict[PackId, Mark]:
    """Return the marks of the store at `root`; if the file is damaged, none, so that the grace period starts again."""
    marks = _read(root)
    waited = dict(marks.waited)
    return {pack: Mark(since=since, waited=waited.get(pack, 0)) for pack, since in marks.dead}


def last_moment(root: Path) -> str | None:
    """Return the time of the last run, None without one."""
    last = _read(root).last
    return None if last is None else last.moment


def age_marks(root: Path, dead: Iterable[PackId], now: Instant, grace: timedelta) -> dict[PackId, Mark]:
    """Return a mark for each pack that is `dead`, as old as it is `now`; nothing is written."""
    passed = elapsed_seconds(_read(root).last, now, grace)
    known = read_marks(root)
    return {
        pack: Mark(since=known[pack].since, waited=known[pack].waited + passed)
        if pack in known
        else Mark(since=now.moment)
        for pack in dead
    }


def write_marks(root: Path, marks: Mapping[PackId, Mark], now: Instant) -> None:
    """Write `marks`, durably, as they are `now`."""
    rows = sorted(marks.items())
    document = Marks(
        format=Marks.FORMAT,
        version=Marks.VERSION,
        requires=(),
        dead=tuple((pack, mark.since) for pack, mark in rows),
        last=now,
        waited=tuple((pack, mark.waited) for pack, mark in rows),
    )
    write_file(root / MARKS_NAME, canonical.encode(document))


def _read(root: Path) -> Marks:
    path = root / MARKS_NAME
    try:
        with disk_errors(path):
            data = read_regular(path) if path.is_file() else b""
        return canonical.decode(data, Marks, name=MARKS_NAME)
    except IntegrityError:
        return Marks(format=Marks.FORMAT, version=Marks.VERSION, requires=(), dead=())
