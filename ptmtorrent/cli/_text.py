"""Rows of data, and a record of progress as a line of text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptmtorrent.model.findings import Finding
    from ptmtorrent.model.records import Dropped, Progress, Retry


class Size(int):
    """Bytes in a row of data: programs get the number, tables show a unit."""


Row = Mapping[str, object]
"""One row of data, by column."""


def spell_progress(progress: "Progress") -> str:
    """Return one progress record as a line: step, bytes, packages, rate and time left, as far as they are known."""
    from ptmtorrent.model.text import count, spell_seconds, spell_size

    parts = [spell_size(progress.bytes) + (f" of {spell_size(progress.bytes_total)}" if progress.bytes_total else "")]
    if progress.packages_total:
        parts.append(f"{progress.packages:,} of {count(progress.packages_total, 'package')}")
    elif progress.packages:
        parts.append(count(progress.packages, "package"))
    if progress.bytes_per_second:
        parts.append(f"{spell_size(progress.bytes_per_second)}/s")
    if progress.eta_seconds:
        parts.append(f"{spell_seconds(progress.eta_seconds)} left")
    return f"{progress.step}: {', '.join(parts)}"


def spell_retry(retry: "Retry") -> str:
    """Return a record of a retry as a line: what is requested again, which attempt it is, and when it begins."""
    from ptmtorrent.model.text import spell_seconds

    which = f"attempt {retry.attempt} of {retry.attempts}"
    when = f"in {spell_seconds(retry.seconds)}" if retry.seconds else "now"
    return f"{retry.what}: {which} {when}: {retry.reason}"


def spell_dropped(dropped: "Dropped") -> str:
    """Return the record of a package that a release has no more as a line: what is left of it, and what removes it."""
    from ptmtorrent.model.text import count

    lacks = f"subset `{dropped.subset}` of release `{dropped.release}` does not have it"
    if dropped.removed:
        return f"note: removed `{dropped.package}` from `{dropped.path}`: {lacks}"
    if dropped.kept:
        more = f" (and {count(len(dropped.kept) - 1, 'more', 'more')})" if len(dropped.kept) > 1 else ""
        why = f"`{dropped.kept[0]}`{more} was changed or is your own: move it away"
        return f"warning: `{dropped.package}` is still in `{dropped.path}`, and {lacks}; {why}"
    then = f"fetch `--subset {dropped.subset}` with `--prune` to remove it from plain folders"
    return f"warning: `{dropped.package}` is still in `{dropped.path}`, and {lacks}; {then}"


def finding_row(finding: "Finding") -> Row:
    """Return a finding as a row of data, the level first."""
    return {
        "level": finding.level,
        "file": finding.file,
        "offset": finding.offset,
        "meaning": finding.meaning,
        "rule": finding.rule,
        "tool": finding.tool,
    }
