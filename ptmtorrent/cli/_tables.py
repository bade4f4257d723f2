"""Rows of data as lines: separated by tabs for programs, or a table with a heading for people.

Names come from hubs and manifests, so a cell is one line and carries no control characters. A table is made to fit the
terminal: hashes are cut to 12 digits, then long text is shortened, then columns are dropped, the least important first.
Names of packages and other ids stay whole; a row whose id alone is wider than the terminal is left out and counted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ptmtorrent.cli._text import Row, Size
from ptmtorrent.model.text import spell_size
from ptmtorrent.scrub import escape

SHORT_HASH = 12
MIN_TEXT = 12
"""Columns that a shortened text keeps at least."""

_HASH = re.compile(r"[0-9a-f]{40,64}")
_GAP = 2
_TEXT = frozenset(
    ("file", "query", "value", "found", "task", "licence", "origin", "flags", "scope", "scopes", "author", "name")
)
"""Columns of free text, which may be shortened; those of ids and numbers may not."""
_DROPPED_FIRST = (
    *("snapshot", "query", "commit", "sha256", "task", "packs_bytes", "licence", "author", "stored", "kind"),
    *("folder", "origin", "flags", "downloads", "files"),
)


@dataclass(frozen=True)
class Table:
    """The lines of a table, and how many rows did not fit the terminal."""

    lines: list[str]
    left_out: int = 0


@dataclass(frozen=True)
class _Column:
    """One column: its heading, a cell a row, and whether cells are aligned right."""

    name: str
    cells: tuple[str, ...]
    right: bool

    @property
    def width(self) -> int:
        """Columns of the terminal that the widest cell takes."""
        return max(map(_columns, self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The heading and the cells."""
        return (self.name.replace("_", " "), *self.cells)

    def map(self, change: Callable[[str], str]) -> "_Column":
        return _Column(self.name, tuple(map(change, self.cells)), self.right)


def tabbed(rows: Sequence[Row]) -> list[str]:
    """Return a line a row, with full cells separated by tabs."""
    return ["\t".join(map(_spell, row.values())) for row in rows]


def aligned(rows: Sequence[Row], width: int | None = None) -> Table:
    """Return a heading and a line a row, with numbers aligned right, no line wider than `width` if it is given."""
    columns = [
        _Column(name, tuple(_spell_size(row[name]) for row in rows), all(_is_number(row[name]) for row in rows))
        for name in rows[0]
    ]
    if width is None:
        return Table(_lines(columns))
    if _total(columns) > width:
        columns = [column.map(_shorten_hash) for column in columns]
    while _total(columns) > width:
        shorter = _shrink(columns, _total(columns) - width, first_too=not _droppable(columns))
        if _total(shorter) <= width:
            columns = shorter
        elif len(columns) > 1:
            columns.remove(_least_important(columns))
        else:
            return _without_wide_rows(shorter[0], width)
    return Table(_lines(columns))


def _shrink(columns: Sequence[_Column], excess: int, *, first_too: bool) -> list[_Column]:
    """Shorten text columns, the widest first, by at most `excess` columns of the terminal in all."""
    shrunk = {column.name: column for column in columns}
    texts = (column for column in columns[not first_too :] if column.name in _TEXT)
    for column in sorted(texts, key=lambda each: -each.width):
        width = max(column.width - excess, MIN_TEXT, _columns(column.lines[0]))
        if excess > 0 and width < column.width:
            shrunk[column.name] = column.map(lambda cell, width=width: _cut(cell, width))  # type: ignore[misc]
            excess -= column.width - width
    return list(shrunk.values())


def _least_important(columns: Sequence[_Column]) -> _Column:
    """Return the column to drop next: one without values, then by the list, then the last; never the first."""
    return next(iter([*_droppable(columns), columns[-1]]))


def _droppable(columns: Sequence[_Column]) -> list[_Column]:
    empty = [column for column in columns[1:] if set(column.cells) <= {"-"}]
    return [*empty, *(column for name in _DROPPED_FIRST for column in columns[1:] if column.name == name)]


def _without_wide_rows(column: _Column, width: int) -> Table:
    kept = tuple(cell for cell in column.cells if _columns(cell) <= width)
    left_out = len(column.cells) - len(kept)
    return Table(_lines([_Column(column.name, kept, column.right)]) if kept else [], left_out)


def _lines(columns: Sequence[_Column]) -> list[str]:
    padded = [[_pad(cell, column.width, column.right) for cell in column.lines] for column in columns]
    return [(" " * _GAP).join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _pad(cell: str, width: int, to_the_right: bool) -> str:
    space = " " * (width - _columns(cell))
    return space + cell if to_the_right else cell + space


def _cut(cell: str, width: int) -> str:
    """Return `cell` in at most `width` columns of the terminal, with an ellipsis where something was cut."""
    if _columns(cell) <= width:
        return cell
    while _columns(cell) > width - 1:
        cell = cell[:-1]
    return f"{cell}…"


def _shorten_hash(cell: str) -> str:
    return f"{cell[:SHORT_HASH]}…" if _HASH.fullmatch(cell) else cell


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _spell_size(value: object) -> str:
    return spell_size(value) if isinstance(value, Size) else _spell(value)


def _spell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return escape(",".join(map(str, value)))
    return escape(str(value))


def _columns(text: str) -> int:
    """Return the columns that `text` takes on a terminal: names of packages come in all scripts."""
    from rich.cells import cell_len

    return cell_len(text)
