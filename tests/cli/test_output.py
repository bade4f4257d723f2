"""The sinks: data on stdout, talk on stderr, one JSON object a line."""

import io
import json
import re
import sys
import threading
import unicodedata
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.cli._human import HumanSink
from ptmtorrent.cli._json import JsonSink
from ptmtorrent.cli._quiet import QuietSink
from ptmtorrent.cli._tables import aligned, tabbed
from ptmtorrent.cli._text import Size
from ptmtorrent.errors import NotFound
from ptmtorrent.model.records import Note, PlanMade, Progress, Result, Summary
from ptmtorrent.scrub import escape, printable

EVENTS = (
    PlanMade(packages=2, files=3, bytes=4000, bytes_to_move=1000, requests=1, disk=5000),
    Progress(
        step="fetch", bytes=10, bytes_total=20, packages=1, packages_total=2, bytes_per_second=5.0, eta_seconds=2.0
    ),
    Result(kind="package", id="hf:org/name", status="ok", path="/models/org/name", bytes=10),
    Result(kind="package", id="hf:org/gated", status="impossible", reason="it is gated"),
    Note(message="the sample channel is used"),
    Summary(packages=2, files=3, bytes=4000, bytes_moved=1000, seconds=1.5, failed=1, sources={"http": 1000}),
)
ERROR = NotFound("no package `hf:org/nane`", hint="did you mean `hf:org/name`?")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def new_human(
    talk: io.StringIO | None = None, *, aligned: bool = False, tick: int = 2
) -> tuple[HumanSink, io.StringIO, io.StringIO]:
    out, talk = io.StringIO(), talk or io.StringIO()
    clock = iter(range(0, 1000, tick))
    return HumanSink(out, talk, aligned=aligned, monotonic=lambda: float(next(clock))), out, talk


def test_every_event_is_one_json_line_with_its_type() -> None:
    out = io.StringIO()
    sink = JsonSink(out)
    for event in EVENTS:
        sink.emit(event)
    sink.rows("package", [{"package": "hf:org/name", "files": 3}])
    sink.error(ERROR)

    lines = [json.loads(line) for line in out.getvalue().splitlines()]

    assert [line["type"] for line in lines] == [
        *("plan", "progress", "result", "result", "note", "summary"),
        *("package", "error"),
    ]
    assert lines[-1] == {"type": "error", "code": 12, "message": ERROR.message, "hint": ERROR.hint}
    assert lines[5]["bytes_moved"] == 1000


def test_every_field_of_every_record_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "json.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, flags=re.MULTILINE))
    for event in EVENTS:
        line = documented[str(event.__struct_config__.tag)]
        assert all(f"`{field}`" in line for field in event.__struct_fields__), line


def test_a_name_that_is_not_utf8_reads_back_from_json() -> None:
    out = io.StringIO()
    sink = JsonSink(out)
    sink.rows("file", [{"file": "b\udcffd", "place": Path("/models")}])
    sink.emit(Note(message="b\udcffd"))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0] == {"type": "file", "file": "b\udcffd", "place": "/models"}
    assert lines[1] == {"type": "note", "message": "b\udcffd", "warning": False}


def test_lines_of_many_threads_do_not_mix() -> None:
    out = io.StringIO()
    sink = JsonSink(out)
    threads = [threading.Thread(target=lambda: [sink.emit(EVENTS[2]) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in out.getvalue().splitlines()]) == 200


def test_people_get_places_on_stdout_and_everything_else_on_stderr() -> None:
    sink, out, talk = new_human(tick=10)
    for event in EVENTS:
        sink.emit(event)
    sink.error(ERROR)

    assert out.getvalue() == "hf:org/name\t/models/org/name\n"
    assert talk.getvalue().splitlines() == [
        "plan: 2 packages, 3 files, 4.0 kB; 1.0 kB to move in 1 request, 5.0 kB of disk",
        "fetch: 10 B of 20 B, 1 of 2 packages, 5 B/s, 2.0 s left",
        "impossible: hf:org/gated: it is gated",
        "note: the sample channel is used",
        "done: 2 packages, 1 failed, 3 files, 4.0 kB; 1.0 kB moved in 1.5 s",
        "  1.0 kB from http",
        "error: no package `hf:org/nane`",
        "  did you mean `hf:org/name`?",
    ]


def test_a_run_over_packs_counts_packs() -> None:
    sink, _, talk = new_human()
    sink.emit(Summary(packages=2, files=2, bytes=8, bytes_moved=0, seconds=1, unit="pack"))
    assert talk.getvalue() == "done: 2 packs, 2 files, 8 B; 0 B moved in 1.0 s\n"


def test_a_check_says_what_it_read_and_moves_nothing() -> None:
    sink, _, talk = new_human()
    sink.emit(Summary(packages=2, files=2, bytes=8, bytes_moved=0, bytes_read=5, seconds=1, unit="pack"))
    assert talk.getvalue() == "done: 2 packs, 2 files, 8 B; 5 B read in 1.0 s\n"


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            PlanMade(packages=2, files=3, bytes=4000, bytes_to_move=4000, requests=5, disk=8000, hours=2.5),
            "2 packages, 3 files, 4.0 kB; 5 requests, 8.0 kB of disk, 2.5 hours at this limit",
        ),
        (
            PlanMade(
                packages=2,
                files=3,
                bytes=4,
                bytes_to_move=4,
                requests=5,
                disk=8,
                hours=1,
                unknown_bytes=1,
                unknown_files=1,
            ),
            (
                "2 packages, at least 3 files, at least 4 B (of 1 package the size is unknown); at least 5 requests,"
                " at least 8 B of disk, at least 1.0 hours at this limit"
            ),
        ),
        (
            PlanMade(
                packages=2, files=0, bytes=0, bytes_to_move=0, requests=0, disk=0, unknown_bytes=2, unknown_files=2
            ),
            (
                "2 packages, an unknown number of files, size unknown; an unknown number of requests, disk unknown,"
                " hours unknown: this hub documents no limit"
            ),
        ),
    ],
)
def test_an_estimate_says_what_it_does_not_know(plan: PlanMade, said: str) -> None:
    sink, _, talk = new_human()
    sink.emit(msgspec.structs.replace(plan, estimated=True, requests_to_plan=8))
    assert talk.getvalue() == (
        f"estimate from 8 requests for the listing: {said}; `--exact` asks the hub for the files of every package\n"
    )


def test_stdout_has_places_only_and_a_reason_is_said_once() -> None:
    sink, out, talk = new_human()
    for package in ("hf:o/a", "hf:o/b"):
        sink.emit(Result(kind="package", id=package, status="error", reason="no source"))
    sink.emit(Result(kind="package", id="hf:o/c", status="notneeded", reason="over --max-bytes"))
    sink.emit(Result(kind="package", id="hf:o/d", status="impossible", reason="`hf:o/d` is gated"))
    sink.emit(Result(kind="package", id="hf:o/e", status="notneeded", reason="it is here already", path="/models/o/e"))
    assert out.getvalue() == "hf:o/e\t/models/o/e\n"
    assert talk.getvalue().splitlines() == [
        "error: hf:o/a: no source",
        "error: hf:o/b: same reason",
        "skipped (over --max-bytes): hf:o/c",
        "impossible: `hf:o/d` is gated",
    ]


def test_a_run_that_is_soon_done_shows_no_progress_without_a_terminal() -> None:
    sink, _, talk = new_human()
    sink.emit(EVENTS[1])
    assert talk.getvalue() == ""


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    sink, _, talk = new_human()
    for _ in range(6):  # the clock moves two seconds a reading
        sink.emit(EVENTS[1])
    assert len(talk.getvalue().splitlines()) == 2


def test_progress_on_a_terminal_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    sink, out, talk = new_human(Terminal())
    for event in EVENTS:
        sink.emit(event)
    sink.close()
    assert "fetch: 10 B of 20 B" in talk.getvalue()
    assert "impossible: hf:org/gated" in talk.getvalue()
    assert talk.getvalue().count("\x1b[?25l") == talk.getvalue().count("\x1b[?25h")
    assert out.getvalue() == "hf:org/name\t/models/org/name\n"


def test_rows_are_a_table_for_eyes_and_tabs_for_pipes() -> None:
    rows = [{"package": "hf:org/name", "task": None}, {"package": "hf:o/n", "task": ["a", "b"]}]
    sink, out, _ = new_human(aligned=True)
    sink.rows("package", rows)
    piped, lines, _ = new_human()
    piped.rows("package", rows)
    piped.rows("package", [])
    assert out.getvalue() == "package      task\nhf:org/name  -\nhf:o/n       a,b\n"
    assert lines.getvalue() == "hf:org/name\t-\nhf:o/n\ta,b\n"


def test_columns_align_in_wide_scripts() -> None:
    sink, out, _ = new_human(aligned=True)
    sink.rows("file", [{"file": "权重", "bytes": 1}, {"file": "abcd", "bytes": 2}])
    assert out.getvalue() == "file  bytes\n权重      1\nabcd      2\n"


def test_sizes_have_units_for_eyes_and_are_numbers_for_programs() -> None:
    rows = [{"package": "hf:org/name", "bytes": Size(1500)}, {"package": "hf:o/n", "bytes": Size(20)}]
    out = io.StringIO()
    JsonSink(out).rows("package", rows)
    assert aligned(rows).lines == ["package       bytes", "hf:org/name  1.5 kB", "hf:o/n         20 B"]
    assert tabbed(rows) == ["hf:org/name\t1500", "hf:o/n\t20"]
    assert json.loads(out.getvalue().splitlines()[0])["bytes"] == 1500


def test_hashes_are_cut_where_the_table_is_wider_than_the_terminal() -> None:
    rows = [{"file": "a", "sha256": "0123456789abcdef" * 4}]
    assert aligned(rows, 80).lines[1].endswith("0123456789abcdef" * 4)
    assert aligned(rows, 60).lines[1].endswith(" 0123456789ab…")


def test_a_hostile_name_is_one_cell_and_moves_no_cursor() -> None:
    rows = [{"file": "a\tb\n\x1b[2J\x9b", "bytes": 1}]
    sink, out, talk = new_human()
    sink.rows("file", rows)
    sink.emit(Note(message="\x1b[2J"))
    assert out.getvalue() == "a\\tb\\n\\x1b[2J\\x9b\t1\n"
    assert "\x1b" not in talk.getvalue()


def test_quiet_prints_places_first_columns_and_errors_only() -> None:
    out, talk = io.StringIO(), io.StringIO()
    sink = QuietSink(out, talk)
    for event in EVENTS:
        sink.emit(event)
    sink.rows("package", [{"package": "hf:org/name", "files": 3}])
    sink.error(ERROR)
    sink.close()
    assert out.getvalue() == "/models/org/name\nhf:org/name\n"
    assert talk.getvalue() == "error: no package `hf:org/nane`\n"


def test_names_a_stream_cannot_take_are_escaped() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert printable("naïve \udcff", ascii_only) == "na\\xefve \\udcff"
    assert printable("naïve", io.StringIO()) == "naïve"


def test_whatever_controls_turns_or_hides_text_is_escaped() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    kinds = {"Cc", "Cf", "Zl", "Zp", "Zs"}
    hidden = [c for c in every if unicodedata.category(c) in kinds and c not in " \u3000"]
    assert [c for c in hidden if escape(c) == c] == []
    assert [c for c in "\u034f\u115f\u3164\uffa0\u2800\ufe0f\U000e0100\U000e0fff" if escape(c) == c] == []
    shown = "na\xefve \u540d\u524d\u3000\u0646\u0627\u0645 \u0e0a\u0e37\u0e48\u0e2d \U0001f600 e\u0301"
    assert escape(shown) == shown
    assert escape("a\u202egpj.exe\u200b") == "a\\u202egpj.exe\\u200b"


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u200b", "\ufeff", "\xad", "\U000e0041", "\x1b", "\x9b"])
@pytest.mark.parametrize("name", ["human", "pipe", "quiet", "bar"])
def test_no_output_shows_a_name_that_hides_something(name: str, hidden: str) -> None:
    out, talk = Terminal() if name == "bar" else io.StringIO(), Terminal() if name == "bar" else io.StringIO()
    sink: HumanSink | QuietSink
    if name == "quiet":
        sink = QuietSink(out, talk)
    else:
        sink = HumanSink(out, talk, aligned=name != "pipe", monotonic=lambda: 0.0)
    bad = f"hf:org/na{hidden}me"
    for status in ("ok", "notneeded", "error"):
        sink.emit(Result(kind="package", id=bad, status=status, reason=bad, path=bad if status == "ok" else None))  # type: ignore[arg-type]
    sink.emit(Note(message=bad, warning=True))
    sink.emit(Progress(step=bad, bytes=1, bytes_total=2, packages=0, packages_total=None))
    sink.rows("package", [{"package": bad, "names": [bad], "files": 3}])
    sink.error(NotFound(bad, hint=bad))
    sink.close()
    said = out.getvalue() + talk.getvalue()
    assert escape(hidden) in said
    if name == "bar":  # colours and cursors of its own
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert hidden not in said


def test_json_keeps_names_as_they_are() -> None:
    out = io.StringIO()
    JsonSink(out).rows("package", [{"package": "a\u202eb"}])
    assert json.loads(out.getvalue())["package"] == "a\u202eb"
