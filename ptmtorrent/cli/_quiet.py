"""The quiet sink: only what a script would use, which is first columns and the paths of packages."""

import threading
from collections.abc import Sequence
from typing import TextIO

from ptmtorrent.cli._text import Row
from ptmtorrent.errors import PtmError
from ptmtorrent.model.records import Event, Result
from ptmtorrent.scrub import escape, printable


class QuietSink:
    """First columns and the paths of packages on `out`, errors on `talk`."""

    def __init__(self, out: TextIO, talk: TextIO) -> None:
        self._out, self._talk = out, talk
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Print the path of a result; ignore other records."""
        if isinstance(event, Result) and event.path:
            self._print(self._out, event.path)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:  # noqa: ARG002  # only JSON shows the kind
        """Print the first column."""
        for row in rows:
            self._print(self._out, str(next(iter(row.values()))))

    def record(self, kind: str, row: Row) -> None:
        """Print one row."""
        self.rows(kind, [row])

    def error(self, error: PtmError) -> None:
        """Print the message."""
        self._print(self._talk, f"error: {error.message}")

    def close(self) -> None:
        """Flush."""
        self._out.flush()

    def _print(self, stream: TextIO, line: str) -> None:
        with self._lock:
            print(printable(escape(line), stream), file=stream)
