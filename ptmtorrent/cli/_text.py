"""Rows and records as text that a stream can show: no control characters, in the stream's encoding."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from ptmtorrent.scrub import scrub

if TYPE_CHECKING:
    from ptmtorrent.model.records import Progress

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Size(int):
    """Bytes in a row of data: programs get the number, tables show a unit."""


Row = Mapping[str, object]
"""One row of data, by column."""


def escape(text: str, *, keep: str = "") -> str:
    """Return `text` with its control characters written as escapes, except those in `keep`."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def printable(text: str, stream: TextIO) -> str:
    """Return `text` as `stream` can encode it: surrogates and characters its encoding lacks become escapes.

    Passwords and tokens are removed: every line for people and scripts passes here.
    """
    text = scrub(text)
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


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
