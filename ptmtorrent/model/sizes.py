"""How sizes are read from the command line and settings, and how they are written in messages.

Sizes are decimal unless they say `iB`: `10GB` is 10,000,000,000 bytes, `10GiB` is 10,737,418,240. Messages are decimal.
"""

import re

from ptmtorrent.errors import UsageError

_UNITS = "kmgtp"
_SIZE = re.compile(rf"([0-9]{{1,15}})(?:\.([0-9]{{1,9}}))?\s*(?:([{_UNITS}])(i)?)?b?", re.IGNORECASE)


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
