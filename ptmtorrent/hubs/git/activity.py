"""What git and its children have done so far: bytes read and written, and seconds of the processor.

Git itself limits a slow server over HTTP only; over ssh, by the `git` protocol or in a TLS handshake it waits without
end. Whatever it receives passes through a `read` of one of its processes, which Linux counts (proc(5), `/proc/PID/io`).
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from ptmtorrent.network import Pace

PROC = Path("/proc")
SAMPLES = 20
"""Samples taken in a window."""

BUSY = 0.05
"""Share of a processor above which git is at work, resolving deltas for instance, and waits for no server."""

_TICKS = os.sysconf("SC_CLK_TCK")
_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Fields of `/proc/PID/stat` after the name of the program."""


class Activity:
    """The activity of the processes of a group, compared with a pace."""

    def __init__(self, group: int, pace: Pace) -> None:
        self._group = group
        self._pace = pace
        self._since = self._sampled = time.monotonic()
        self._seen: dict[int, tuple[int, float]] = {}
        self._bytes = 0
        self._seconds = 0.0

    def is_stalled(self) -> bool:
        """Return whether the group moved fewer bytes than the least rate over the window, and computed nothing."""
        now = time.monotonic()
        if now - self._sampled < self._pace.window / SAMPLES:
            return False
        self._sampled = now
        self._sample()
        waited = now - self._since
        if waited < self._pace.window:
            return False
        idle = self._bytes < self._pace.least_rate * waited and self._seconds < BUSY * waited
        self._since, self._bytes, self._seconds = now, 0, 0.0
        return idle

    def _sample(self) -> None:
        for process in _members(self._group):
            counted = _read(process)
            before = self._seen.get(process, (0, 0.0))
            self._seen[process] = counted
            self._bytes += max(0, counted[0] - before[0])
            self._seconds += max(0.0, counted[1] - before[1])


def _members(group: int) -> list[int]:
    """Return the processes of `group`; none where there is no such file system."""
    found = []
    with suppress(OSError):
        for name in os.listdir(PROC):  # noqa: PTH208  # names are enough
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    if int(_stat(int(name))[_GROUP]) == group:
                        found.append(int(name))
    return found


def _read(process: int) -> tuple[int, float]:
    """Return bytes read and written, and seconds of the processor; zeros once the process has ended."""
    with suppress(OSError, ValueError, IndexError):
        lines = (PROC / str(process) / "io").read_text(encoding="ascii").splitlines()
        counts = dict(line.split(": ") for line in lines)
        fields = _stat(process)
        seconds = (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
        return int(counts["rchar"]) + int(counts["wchar"]), seconds
    return 0, 0.0


def _stat(process: int) -> list[str]:
    text = (PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()
