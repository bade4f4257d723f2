"""The output sink: where records, rows and errors of a run go. stdout is data, stderr is talk.

Three sinks: human (in `human.py`), JSON (one object a line, each with a `type`) and quiet (first columns and paths
only). A workflow may emit from several threads.
"""

import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from ptmtorrent.cli._tables import Row, escape
from ptmtorrent.errors import PtmError

if TYPE_CHECKING:
    from ptmtorrent.model.records import Event


class Sink(Protocol):
    """What a verb writes to. Every method may be called from any thread."""

    def emit(self, event: "Event") -> None:
        """Show one record of a workflow."""
        ...

    def rows(self, kind: str, rows: Sequence[Row]) -> None:
        """Print rows of data; `kind` is their `type` in JSON. All rows have the same columns."""
        ...

    def error(self, error: PtmError) -> None:
        """Say what ended the run."""
        ...

    def close(self) -> None:
        """Finish: stop bars, flush."""
        ...


class JsonSink:
    """One JSON object a line on `out`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def emit(self, event: "Event") -> None:
        """Print the record as it is."""
        self._print(event)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:
        """Print each row with its `type`."""
        for row in rows:
            self._print({"type": kind, **row})

    def error(self, error: PtmError) -> None:
        """Print code, message and hint."""
        self._print({"type": "error", "code": error.code, "message": error.message, "hint": error.hint})

    def close(self) -> None:
        """Flush."""
        self._out.flush()

    def _print(self, value: object) -> None:
        line = _json_line(value)
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


class QuietSink:
    """Only what a script would use: first columns, the places of packages; errors on `talk`."""

    def __init__(self, out: TextIO, talk: TextIO) -> None:
        self._out, self._talk = out, talk
        self._lock = threading.Lock()

    def emit(self, event: "Event") -> None:
        """Print where a package lies; everything else is silence."""
        path = getattr(event, "path", None)
        if path:
            self._print(self._out, path)

    def rows(self, kind: str, rows: Sequence[Row]) -> None:  # noqa: ARG002  # only JSON shows the kind
        """Print the first column."""
        for row in rows:
            self._print(self._out, str(next(iter(row.values()))))

    def error(self, error: PtmError) -> None:
        """Print the message."""
        self._print(self._talk, f"error: {error.message}")

    def close(self) -> None:
        """Flush."""
        self._out.flush()

    def _print(self, stream: TextIO, line: str) -> None:
        with self._lock:
            print(printable(escape(line), stream), file=stream)


def _json_line(value: object) -> str:
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except UnicodeEncodeError:  # a name that is not UTF-8: its surrogates are escaped, and read back as they were
        import json

        return json.dumps(msgspec.to_builtins(value, enc_hook=_plain))


def _plain(value: object) -> object:
    return int(value) if isinstance(value, int) else str(value)


def printable(text: str, stream: TextIO) -> str:
    """Return `text` as `stream` can take it: surrogates and what its encoding lacks become escapes."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="backslashreplace").decode(encoding)


def new_sink(form: str) -> Sink:
    """Return the sink for a format of `config.FORMATS`, on this process's stdout and stderr."""
    if form == "json":
        return JsonSink(sys.stdout)
    if form == "quiet":
        return QuietSink(sys.stdout, sys.stderr)
    from ptmtorrent.cli._human import HumanSink

    aligned = form == "human" or sys.stdout.isatty()
    return HumanSink(sys.stdout, sys.stderr, aligned=aligned, monotonic=time.monotonic)
