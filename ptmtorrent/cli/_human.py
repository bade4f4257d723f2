"""The sink for people: bars on a terminal, a line every few seconds elsewhere, sentences for what went wrong."""

import shutil
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from ptmtorrent.cli._output import printable
from ptmtorrent.cli._tables import Row, aligned, escape, tabbed
from ptmtorrent.cli._values import spell_seconds, spell_size
from ptmtorrent.errors import PtmError

if TYPE_CHECKING:
    from ptmtorrent.cli._bars import Bars
    from ptmtorrent.model.records import Event, PlanMade, Progress, Result, Summary

EVERY_SECONDS = 5.0
"""How often progress is worth a line where there is no terminal; a run that is done sooner needs none."""


class HumanSink:
    """Data on `out`, talk on `talk`; `aligned` tables or, for pipes, columns separated by tabs."""

    def __init__(self, out: TextIO, talk: TextIO, *, aligned: bool, monotonic: Callable[[], float]) -> None:
        self._out, self._talk, self._aligned, self._monotonic = out, talk, aligned, monotonic
        self._bars: Bars | None = None
        self._last_line = monotonic()
        self._last_reason = ""
        self._lock = threading.RLock()

    def emit(self, event: "Event") -> None:
        """Show one record: progress as a bar or now and then a line, the rest as sentences."""
        kind = event.__struct_config__.tag
        with self._lock:
            getattr(self, f"_show_{kind}")(event)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:
        """Print rows as a table with a heading, or separated by tabs without one."""
        if not rows:
            self._say(self._talk, f"note: there is no {kind} to show")
        elif self._aligned:
            width = shutil.get_terminal_size().columns if self._out.isatty() else None
            self._say(self._out, *aligned(rows, width))
        else:
            self._say(self._out, *tabbed(rows))

    def error(self, error: PtmError) -> None:
        """Say what happened and what to type next."""
        self.close()
        self._say(self._talk, f"error: {error.message}", *([f"  {error.hint}"] if error.hint else []))

    def close(self) -> None:
        """Take the bars away and flush."""
        with self._lock:
            if self._bars is not None:
                self._bars.close()
                self._bars = None
            self._out.flush()

    def _show_plan(self, plan: "PlanMade") -> None:
        self._say(
            self._talk,
            f"plan: {_count(plan.packages, 'package')}, {_count(plan.files, 'file')}, {spell_size(plan.bytes)};"
            f" {spell_size(plan.bytes_to_move)} to move in {_count(plan.requests, 'request')},"
            f" {spell_size(plan.disk)} of disk" + _limited(plan.hours),
        )

    def _show_progress(self, progress: "Progress") -> None:
        if self._talk.isatty():
            from ptmtorrent.cli._bars import Bars

            self._bars = self._bars or Bars(self._talk)
            self._bars.show(progress)
            return
        now = self._monotonic()
        if now - self._last_line >= EVERY_SECONDS:
            self._last_line = now
            self._say(self._talk, spell_progress(progress))

    def _show_result(self, result: "Result") -> None:
        if result.path or result.status == "ok":
            self._say(self._out, f"{result.id}\t{result.path or result.reason or result.status}")
            return
        status = "not needed" if result.status == "notneeded" else result.status
        reason = "the same" if result.reason == self._last_reason else result.reason
        self._last_reason = result.reason
        named = f"`{result.id}`" in reason
        self._say(self._talk, f"{status}: {reason}" if named else f"{status}: {result.id}: {reason}")

    def _show_note(self, note: "Event") -> None:
        mark = "warning" if getattr(note, "warning", False) else "note"
        self._say(self._talk, f"{mark}: {getattr(note, 'message', '')}")

    def _show_summary(self, summary: "Summary") -> None:
        self.close()
        failed = f", {summary.failed} failed" if summary.failed else ""
        self._say(
            self._talk,
            f"done: {_count(summary.packages, summary.unit)}{failed}, {_count(summary.files, 'file')},"
            f" {spell_size(summary.bytes)}; {spell_size(summary.bytes_moved)} moved"
            f" in {spell_seconds(summary.seconds)}",
            *(f"  {spell_size(size)} from {source}" for source, size in sorted(summary.sources.items())),
            *(f"  {_count(number, 'package')} found {flag}" for flag, number in sorted(summary.flagged.items())),
        )

    def _say(self, stream: TextIO, *lines: str) -> None:
        with self._lock:
            for line in lines:
                text = printable(escape(line, keep="\t\n"), stream)
                if self._bars is not None and stream.isatty():
                    self._bars.print(text)
                else:
                    print(text, file=stream)


def spell_progress(progress: "Progress") -> str:
    """Spell one reading as a line: step, bytes, packages, rate and time left, as far as they are known."""
    parts = [spell_size(progress.bytes) + (f" of {spell_size(progress.bytes_total)}" if progress.bytes_total else "")]
    if progress.packages_total:
        parts.append(f"{progress.packages:,} of {_count(progress.packages_total, 'package')}")
    elif progress.packages:
        parts.append(_count(progress.packages, "package"))
    if progress.bytes_per_second:
        parts.append(f"{spell_size(progress.bytes_per_second)}/s")
    if progress.eta_seconds:
        parts.append(f"{spell_seconds(progress.eta_seconds)} left")
    return f"{progress.step}: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _limited(hours: float | None) -> str:
    if hours is None:
        return ""
    return f", {hours:.1f} hours at this limit" if hours >= 0.1 else ", minutes at this limit"
