"""Rows of data as lines: separated by tabs for programs, or a table with a heading for eyes.

Names come from hubs and manifests, so a cell is one line and carries no control characters, whatever it holds.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from ptmtorrent.cli._values import Size, spell_size

Row = Mapping[str, object]

SHORT_HASH = 12
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HASH = re.compile(r"[0-9a-f]{40,64}")


def tabbed(rows: Sequence[Row]) -> list[str]:
    """Return a line a row, cells as they are, separated by tabs."""
    return ["\t".join(map(_spell, row.values())) for row in rows]


def aligned(rows: Sequence[Row], width: int | None = None) -> list[str]:
    """Return a heading and a line a row: sizes are spelled, numbers stand to the right.

    Hashes are cut to 12 digits where the table would be wider than `width` columns.
    """
    lines = _table(rows, _spell_for_eyes)
    if width is not None and max(map(_columns, lines)) > width:
        return _table(rows, lambda value: _shorten(_spell_for_eyes(value)))
    return lines


def escape(text: str, *, keep: str = "") -> str:
    """Return `text` with its control characters written out, except those in `keep`."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def _table(rows: Sequence[Row], spell: Callable[[object], str]) -> list[str]:
    cells = [[name.replace("_", " ") for name in rows[0]], *([spell(value) for value in row.values()] for row in rows)]
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    right = [all(map(_is_number, column)) for column in zip(*(row.values() for row in rows), strict=True)]
    return ["  ".join(map(_pad, line, widths, right)).rstrip() for line in cells]


def _pad(cell: str, width: int, to_the_right: bool) -> str:
    space = " " * (width - _columns(cell))
    return space + cell if to_the_right else cell + space


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _spell_for_eyes(value: object) -> str:
    return spell_size(value) if isinstance(value, Size) else _spell(value)


def _spell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return escape(",".join(map(str, value)))
    return escape(str(value))


def _shorten(cell: str) -> str:
    return f"{cell[:SHORT_HASH]}…" if _HASH.fullmatch(cell) else cell


def _columns(text: str) -> int:
    """Return the columns `text` takes on a terminal: names of packages come in all scripts."""
    from rich.cells import cell_len

    return cell_len(text)
