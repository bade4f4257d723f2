"""The output sink: where records, rows and errors of a run go. stdout is data, stderr is everything else.

There are three sinks: human (`_human`), JSON (one object a line, each with a `type`) and quiet (first columns and paths
only). Workflows may emit from several threads. A sink is made when something is printed, so that `--help` and
completion import none of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ptmtorrent.errors import PtmError

if TYPE_CHECKING:
    from ptmtorrent.cli._text import Row
    from ptmtorrent.model.records import Event


class Sink(Protocol):
    """What a verb writes to. Every method may be called from any thread."""

    def emit(self, event: "Event") -> None:
        """Show one record of a workflow."""
        ...

    def rows(self, kind: str, rows: "Sequence[Row]") -> None:
        """Print rows of data; `kind` is their `type` in JSON. All rows have the same columns."""
        ...

    def record(self, kind: str, row: "Row") -> None:
        """Print one row of many columns, as `rows` does; for people, one column a line."""
        ...

    def error(self, error: PtmError) -> None:
        """Print the error that ended the run."""
        ...

    def close(self) -> None:
        """Remove progress bars and flush."""
        ...
