"""The JSON sink: one object a line on stdout, each with a `type` (docs/guides/json.md)."""

import json
import threading
from collections.abc import Sequence
from typing import TextIO

import msgspec

from ptmtorrent.cli._text import Row
from ptmtorrent.errors import PtmError
from ptmtorrent.model.records import ErrorRecord, Event
from ptmtorrent.scrub import scrub


class JsonSink:
    """One JSON object a line on `out`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Print the record with all its fields."""
        self._print(event)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:
        """Print each row with its `type`."""
        for row in rows:
            self._print({"type": kind, **row})

    def record(self, kind: str, row: Row) -> None:
        """Print one row."""
        self.rows(kind, [row])

    def error(self, error: PtmError) -> None:
        """Print exit code, message and hint."""
        self._print(ErrorRecord(code=error.code, message=error.message, hint=error.hint))

    def close(self) -> None:
        """Flush."""
        self._out.flush()

    def _print(self, value: object) -> None:
        line = scrub(_json_line(value))
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


def _json_line(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except UnicodeEncodeError:  # a name that is not UTF-8: its surrogates are escaped, and decode to the same name
        return json.dumps(msgspec.to_builtins(value, enc_hook=_plain))


def _plain(value: object) -> object:
    return int(value) if isinstance(value, int) else str(value)
