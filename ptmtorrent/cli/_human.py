"""The sink for people: bars on a terminal, a line every few seconds elsewhere, sentences for everything else."""

import shutil
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from ptmtorrent.cli._tables import aligned, tabbed
from ptmtorrent.cli._text import Row, spell_dropped, spell_progress, spell_retry
from ptmtorrent.errors import PtmError
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Dropped, Event, Note, Opened, PlanMade, Progress, Result, Retry, Summary
from ptmtorrent.model.text import count, spell_seconds, spell_size
from ptmtorrent.scrub import escape, printable

if TYPE_CHECKING:
    from ptmtorrent.cli._bars import Bars

EVERY_SECONDS = 5.0
"""Interval of progress lines where there is no terminal; shorter runs print none."""


class HumanSink:
    """Data on `out`, everything else on `talk`; `aligned` tables or, for pipes, columns separated by tabs."""

    def __init__(self, out: TextIO, talk: TextIO, *, aligned: bool, monotonic: Monotonic) -> None:
        self._out, self._talk, self._aligned, self._monotonic = out, talk, aligned, monotonic
        self._bars: Bars | None = None
        self._last_line = monotonic()
        self._last_reason = ""
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        """Show one record: progress as a bar or an occasional line, the rest as sentences."""
        with self._lock:
            match event:
                case Opened():
                    self._say(self._talk, f"release {event.release} of {event.created[:10]}, {event.content_root}")
                case PlanMade():
                    self._show_plan(event)
                case Progress():
                    self._show_progress(event)
                case Result():
                    self._show_result(event)
                case Dropped():
                    self._say(self._talk, spell_dropped(event))
                case Note():
                    self._say(self._talk, f"{'warning' if event.warning else 'note'}: {event.message}")
                case Retry():
                    self._say(self._talk, f"note: {spell_retry(event)}")
                case Summary():
                    self._show_summary(event)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:
        """Print rows as a table with a heading, or separated by tabs without one."""
        if not rows:
            self._say(self._talk, f"note: no {kind} found")
        elif self._aligned:
            table = aligned(rows, shutil.get_terminal_size().columns if self._out.isatty() else None)
            self._say(self._out, *table.lines)
            if table.left_out:
                self._say(self._talk, f"note: {count(table.left_out, 'row')} too wide to show; try `--format json`")
        else:
            self._say(self._out, *tabbed(rows))

    def record(self, kind: str, row: Row) -> None:
        """Print one row as a line for each value that there is, or separated by tabs."""
        named: list[Row] = [{"fact": name, "value": value} for name, value in row.items() if value is not None]
        self.rows(kind, named if self._aligned else [row])

    def error(self, error: PtmError) -> None:
        """Print the message and the hint below it."""
        self.close()
        self._say(self._talk, f"error: {error.message}", *([f"  {error.hint}"] if error.hint else []))

    def close(self) -> None:
        """Remove the bars and flush."""
        with self._lock:
            if self._bars is not None:
                self._bars.close()
                self._bars = None
            self._out.flush()

    def _show_plan(self, plan: PlanMade) -> None:
        if plan.estimated:
            self._say(self._talk, _spell_estimate(plan))
            return
        self._say(
            self._talk,
            f"plan: {count(plan.packages, 'package')}, {count(plan.files, 'file')}, {spell_size(plan.bytes)};"
            f" {spell_size(plan.bytes_to_move)} to move in {count(plan.requests, 'request')},"
            f" {spell_size(plan.disk)} of disk" + _planned(plan) + _limited(plan.hours),
        )

    def _show_progress(self, progress: Progress) -> None:
        if self._talk.isatty():
            from ptmtorrent.cli._bars import Bars

            self._bars = self._bars or Bars(self._talk)
            self._bars.show(progress)
            return
        now = self._monotonic()
        if now - self._last_line >= EVERY_SECONDS:
            self._last_line = now
            self._say(self._talk, spell_progress(progress))

    def _show_result(self, result: Result) -> None:
        if result.path or result.status == "ok":
            self._say(self._out, f"{result.id}\t{result.path or result.reason or result.status}")
            return
        if result.status == "notneeded":
            why = f" ({result.reason})" if result.reason else ""
            self._say(self._talk, f"skipped{why}: {result.id}")
            return
        reason = "same reason" if result.reason == self._last_reason else result.reason
        self._last_reason = result.reason
        named = f"`{result.id}`" in reason
        self._say(self._talk, f"{result.status}: {reason}" if named else f"{result.status}: {result.id}: {reason}")

    def _show_summary(self, summary: Summary) -> None:
        self.close()
        failed = f", {summary.failed:,} failed" if summary.failed else ""
        self._say(
            self._talk,
            f"done: {count(summary.packages, summary.unit)}{failed}, {count(summary.files, 'file')},"
            f" {spell_size(summary.bytes)}; {_spell_work(summary)} in {spell_seconds(summary.seconds)}",
            *(f"  {spell_size(size)} from {source}" for source, size in sorted(summary.sources.items())),
            *(f"  {count(number, 'package')} found {flag}" for flag, number in sorted(summary.flagged.items())),
        )

    def _say(self, stream: TextIO, *lines: str) -> None:
        with self._lock:
            for line in lines:
                text = printable(escape(line, keep="\t\n"), stream)
                if self._bars is not None and stream.isatty():
                    self._bars.print(text)
                else:
                    print(text, file=stream)


def _spell_work(summary: Summary) -> str:
    """Return the bytes that were read by a check, or moved."""
    if summary.bytes_read is not None:
        return f"{spell_size(summary.bytes_read)} read"
    return f"{spell_size(summary.bytes_moved)} moved"


def _spell_estimate(plan: PlanMade) -> str:
    """Return the sentence of a plan that was made from a listing, which may not state every number."""
    files, size = count(plan.files, "file"), spell_size(plan.bytes)
    requests, disk = count(plan.requests, "request"), f"{spell_size(plan.disk)} of disk"
    if plan.unknown_files:
        files = f"at least {files}" if plan.files else "an unknown number of files"
        requests = f"at least {requests}" if plan.requests else "an unknown number of requests"
    if plan.unknown_bytes:
        unknown = f"(of {count(plan.unknown_bytes, 'package')} the size is unknown)"
        size = f"at least {size} {unknown}" if plan.bytes else "size unknown"
        disk = f"at least {disk}" if plan.bytes else "disk unknown"
    hours = _limited(plan.hours) or ", hours unknown: this hub documents no limit"
    if plan.unknown_files and plan.hours is not None:
        hours = hours.replace(", ", ", at least ", 1)
    return (
        f"estimate from {count(plan.requests_to_plan, 'request')} for the listing: {count(plan.packages, 'package')},"
        f" {files}, {size}; {requests}, {disk}{hours}; `--exact` asks the hub for the files of every package"
    )


def _planned(plan: PlanMade) -> str:
    if not plan.requests_to_plan:
        return ""
    return f"; {spell_size(plan.bytes_to_plan)} read in {count(plan.requests_to_plan, 'request')} to plan it"


def _limited(hours: float | None) -> str:
    if hours is None:
        return ""
    return f", {hours:.1f} hours at this limit" if hours >= 0.1 else ", minutes at this limit"
