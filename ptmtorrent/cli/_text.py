"""Rows and records as text that a stream can show: nothing that controls or hides it, in the stream's encoding."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from ptmtorrent.scrub import scrub

if TYPE_CHECKING:
    from ptmtorrent.model.records import Progress

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SEPARATORS = r"\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f"
_INVISIBLE = (
    r"\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    r"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters that show nothing or change the direction of those around them: two names could look alike, or a name like
another text."""
_ESCAPED = re.compile(f"[{_CONTROL}{_SEPARATORS}{_INVISIBLE}]")


class Size(int):
    """Bytes in a row of data: programs get the number, tables show a unit."""


Row = Mapping[str, object]
"""One row of data, by column."""


def escape(text: str, *, keep: str = "") -> str:
    """Return `text` with characters that control, turn or hide what is shown as escapes, except those in `keep`."""
    return _ESCAPED.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


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
