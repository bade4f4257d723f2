"""Records as lines of text, for bars and for streams that are not terminals."""

from ptmtorrent.cli._values import spell_seconds
from ptmtorrent.model.records import Progress
from ptmtorrent.model.sizes import spell_size
from ptmtorrent.model.text import count


def spell_progress(progress: Progress) -> str:
    """Return one progress record as a line: step, bytes, packages, rate and time left, as far as they are known."""
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
