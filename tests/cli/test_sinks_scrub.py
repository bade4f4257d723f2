"""Every sink removes logins and tokens, whatever a workflow emits."""

import io

import pytest

from ptmtorrent.cli._human import HumanSink
from ptmtorrent.cli._json import JsonSink
from ptmtorrent.cli._output import Sink
from ptmtorrent.cli._quiet import QuietSink
from ptmtorrent.model.records import Note, Result

ADDRESS = "https://me:PassWord@example.org/x?token=PassWord"


def make_sinks(out: io.StringIO) -> dict[str, Sink]:
    return {
        "json": JsonSink(out),
        "quiet": QuietSink(out, out),
        "human": HumanSink(out, out, aligned=True, monotonic=lambda: 0.0),
        "tabs": HumanSink(out, out, aligned=False, monotonic=lambda: 0.0),
    }


@pytest.mark.parametrize("form", ["json", "quiet", "human", "tabs"])
def test_sink_removes_logins_from_records_and_rows(form: str) -> None:
    out = io.StringIO()
    sink = make_sinks(out)[form]
    sink.emit(Note(message=f"read {ADDRESS}"))
    sink.emit(Result(kind="package", id="hf:a/b", status="ok", path=ADDRESS))
    sink.emit(Result(kind="package", id="hf:a/b", status="error", reason=ADDRESS))
    sink.rows("setting", [{"channel": ADDRESS, "origin": ADDRESS}])
    assert "https://example.org/x?token=***" in out.getvalue()
    assert "PassWord" not in out.getvalue()
