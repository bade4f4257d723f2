"""Counts, sizes and durations as text.

Sizes are decimal unless they say `iB`: `10GB` is 10,000,000,000 bytes, `10GiB` is 10,737,418,240. Messages are decimal.
"""

import re

from ptmtorrent.errors import UsageError

_UNITS = "kmgtp"
_SIZE = re.compile(rf"([0-9]{{1,15}})(?:\.([0-9]{{1,9}}))?\s*(?:([{_UNITS}])(i)?)?b?", re.IGNORECASE)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 package`, `2 packages`, `1,200 packages`; `plural` where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def parse_size(text: str) -> int:
    """Read `500M`, `10GB` or `1.5GiB` as bytes.

    Raises:
        UsageError: anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"`{text}` is not a size", hint="write a number and a unit, such as `500MB` or `1.5GiB`")
    whole, fraction, unit, binary = match.groups()
    power = _UNITS.index(unit.lower()) + 1 if unit else 0
    factor: int = (1024 if binary else 1000) ** power
    parts: int = 10 ** len(fraction or "")
    return int(whole) * factor + int(fraction or 0) * factor // parts


def spell_size(size: float) -> str:
    """Return a number of bytes as messages show it: `512 B`, `1.5 MB`, `2.3 GB` (decimal units)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} PB"


def spell_seconds(seconds: float) -> str:
    """Return a duration as messages show it: `3.1 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
