"""How addresses, URLs and lists are read from the command line, and how durations are shown."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from ptmtorrent.errors import UsageError

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+)):([0-9]{1,5})")
MAX_PORT = 65535


class Size(int):
    """Bytes in a row of data: programs get the number, tables show a unit."""


Row = Mapping[str, object]
"""One row of data, by column."""

Choice = TypeVar("Choice", bound=str)


def parse_address(text: str, *, any_port: bool = False) -> tuple[str, int]:
    """Read `HOST:PORT` or `[IPV6]:PORT`; port 0 (any free port) only if `any_port`.

    Raises:
        UsageError: anything else.
    """
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match[3]) if match else -1
    if match is None or not (0 if any_port else 1) <= port <= MAX_PORT:
        raise UsageError(
            f"`{text}` is not an address", hint="write HOST:PORT, such as `127.0.0.1:6881` or `[::1]:6881`"
        )
    return match[1] or match[2], port


def parse_url(text: str, schemes: Sequence[str], option: str) -> str:
    """Return a URL as it was typed, once it starts like one of `schemes`.

    Raises:
        UsageError: anything else.
    """
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)) or not text.split("://", 1)[1].strip("/"):
        raise UsageError(f"`{option}` cannot be `{text}`", hint=f"write a URL, such as `{schemes[0]}://example.org`")
    return text


def parse_list(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the items of an option that may be repeated, each value being one item or several joined by commas."""
    return tuple(item.strip() for text in texts or () for item in text.split(",") if item.strip())


def parse_choices(texts: str | Sequence[str] | None, choices: Sequence[Choice], option: str) -> tuple[Choice, ...]:
    """Return the items of a list option (`parse_list`), each one of `choices`; empty when the option was not given.

    Raises:
        UsageError: an item that is not a choice.
    """
    named = {str(choice): choice for choice in choices}
    items = parse_list([texts] if isinstance(texts, str) else texts)
    if unknown := next((item for item in items if item not in named), None):
        known = ", ".join(f"`{choice}`" for choice in choices)
        raise UsageError(f"`{option}` cannot be `{unknown}`", hint=f"choose from {known}, joined by commas")
    return tuple(named[item] for item in items)


def spell_seconds(seconds: float) -> str:
    """Return a duration as messages show it: `3.1 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
