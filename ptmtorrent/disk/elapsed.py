"""How long a thing has been waiting, without belief in a wall clock: it may step while no process runs.

An interval between two runs is what the time since the machine booted says, and never more than the wall clock says. Of
an interval across a reboot or between machines only the wall clock knows, so it counts for a quarter of the limit at
most. A clock that steps forward thus deletes nothing early, and one that steps back costs one interval.

`ages.json` records which files of a folder were found, and for how long each has been as it was found ::

    {"files":[["ab12.part",1048576,1795521600000000000,86400]],"format":"ptmtorrent/ages",
     "last":{"boot":"6f05...","moment":"2026-11-20T12:00:00Z","uptime":15869},"requires":[],"version":1}
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import msgspec

from ptmtorrent.disk.durable import disk_errors, read_regular, write_file
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.moments import Clock, spell

AGES_NAME = "ages.json"

_UPTIME = Path("/proc/uptime")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SHARE = 4
"""An interval of which only the wall clock knows counts for at most this part of a limit."""

Uptime = Callable[[], tuple[str, int]]
"""Returns the id of this boot of this machine, and the seconds since; an empty id where the system does not say."""


class Instant(msgspec.Struct, frozen=True, kw_only=True):
    """What both clocks showed at the same time."""

    moment: str
    boot: str
    uptime: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for a time that is not one; the document decoder turns it into an `IntegrityError`."""
        if datetime.fromisoformat(self.moment).tzinfo is None:
            raise ValueError(f"`moment` is {self.moment}")


class Ages(canonical.Document, frozen=True, kw_only=True):
    """`ages.json`: the last run, and of each file the name, size, change time and seconds that it has waited."""

    FORMAT: ClassVar[str] = "ptmtorrent/ages"

    last: Instant
    files: tuple[tuple[str, int, int, int], ...]


def read_uptime() -> tuple[str, int]:
    """Return the id of this boot and the seconds since, as Linux tells them; otherwise an empty id."""
    with suppress(OSError, ValueError):
        boot = _BOOT.read_text().strip()
        return boot, int(float(_UPTIME.read_text().split()[0]))
    return "", 0


def read_exact_uptime() -> tuple[str, float]:
    """Return what `read_uptime` does, with fractions of a second."""
    boot, seconds = read_uptime()
    return (boot, time.clock_gettime(time.CLOCK_BOOTTIME)) if boot else (boot, float(seconds))


def read_instant(clock: Clock, uptime: Uptime) -> Instant:
    """Return what both clocks show now."""
    boot, seconds = uptime()
    return Instant(moment=spell(clock()), boot=boot, uptime=seconds)


def elapsed_seconds(last: Instant | None, now: Instant, limit: timedelta) -> int:
    """Return the seconds that have certainly passed since `last`, of what waits for `limit`; 0 without a `last`."""
    if last is None:
        return 0
    by_clock = max(0, int((_at(now) - _at(last)).total_seconds()))
    if last.boot and last.boot == now.boot and last.uptime <= now.uptime:
        return min(by_clock, now.uptime - last.uptime)
    return min(by_clock, int(limit.total_seconds()) // _SHARE)


def find_old(folder: Path, files: Iterable[Path], limit: timedelta, clock: Clock, uptime: Uptime) -> list[Path]:
    """Return those of `files` in `folder` that were found unchanged for `limit`, and record the others.

    The caller holds the lock of `folder`, and deletes what is returned.

    Raises:
        StoreError: a file or the record cannot be used.
        NoSpace: the disk is full.
    """
    record = folder / AGES_NAME
    before, now = _read_ages(record), read_instant(clock, uptime)
    known = {} if before is None else {(name, size, changed): waited for name, size, changed, waited in before.files}
    passed = elapsed_seconds(None if before is None else before.last, now, limit)
    old, young = [], []
    for path in sorted(files):
        with disk_errors(path):
            found = path.lstat()
        key = (path.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns)
        waited = known[key] + passed if key in known else 0
        if waited >= limit.total_seconds():
            old.append(path)
        else:
            young.append((*key, waited))
    if young:
        ages = Ages(format=Ages.FORMAT, version=Ages.VERSION, requires=(), last=now, files=tuple(young))
        write_file(record, canonical.encode(ages))
    else:
        with disk_errors(record):
            record.unlink(missing_ok=True)
    return old


def _read_ages(path: Path) -> Ages | None:
    """Return the record; None if it is missing or damaged, so that all files wait from now on."""
    try:
        with disk_errors(path):
            data = read_regular(path) if path.is_file() else b""
        return canonical.decode(data, Ages, name=str(path))
    except IntegrityError:
        return None


def _at(instant: Instant) -> datetime:
    return datetime.fromisoformat(instant.moment).astimezone(UTC)
