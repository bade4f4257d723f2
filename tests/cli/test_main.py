"""How a run ends: exit codes, errors as sentences or JSON, signals."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptmtorrent import errors
from ptmtorrent.cli import main as program
from ptmtorrent.cli import subsets
from ptmtorrent.errors import PtmError


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = program.run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def all_errors(kind: type[PtmError] = PtmError) -> list[type[PtmError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_errors(child))]


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(subsets, "open_requested", fail)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fech"], "`fetch`"),
        (["fetch", "--bogus"], "--bogus"),
        (["fetch"], "nothing to fetch"),
        (["fetch", "--subset", "all", "--max-bytes", "much"], "`much`"),
        (["fetch", "--subset", "all", "--peer", "nowhere"], "`nowhere`"),
        (["fetch", "--subset", "all", "--only", "tensors"], "`tensors`"),
        (["fetch", "name-without-hub"], "`name-without-hub`"),
        (["fetch", "--subset", "all", "--into", "zip"], "zip"),
        (["clone", "nohub"], "nohub"),
        (["clone", "huggingface", "--popular", "--min-downloads", "3"], "exclude"),
        (["clone", "huggingface", "--endpoint", "hub.example.org"], "`hub.example.org`"),
        (["clone", "huggingface", "--jobs", "0"], "`--jobs` cannot be `0`"),
        (["clone", "huggingface", "--max-memory", "1MB"], "`--max-memory` cannot be `1MB`"),
        (["list", "--channel", ""], "`--channel`"),
        (["seed", "--listen", "everywhere"], "`everywhere`"),
        (["seed", "--tracker", "tracker.example.org"], "`tracker.example.org`"),
        (["release", "../up"], "`../up`"),
        (["publish", "one"], "--to"),
        (["--format", "xml", "fetch"], "xml"),
    ],
)
def test_an_invalid_command_line_is_2(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize("arguments", [[], ["keys"], ["trust"]])
def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (2, "")
    assert "Commands" in out


def test_a_usage_error_says_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`ptmtorrent fetch --help`" in run(capsys, "fetch", "--bogus")[2]
    assert "`ptmtorrent --help`" in run(capsys, "fech")[2]
    assert "`ptmtorrent trust add --help`" in run(capsys, "trust", "add")[2]
    assert "`ptmtorrent fetch --help`" in run(capsys, "--format", "human", "fetch", "list", "--bogus")[2]
    assert "`ptmtorrent subsets --help`" in run(capsys, "subsets", "--bogus", "fetch")[2]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", [[], ["fetch"], ["store"], ["store", "check"]])
def test_help_has_a_short_flag_and_shows_no_type_of_flags(
    capsys: pytest.CaptureFixture[str], verb: list[str], flag: str
) -> None:
    code, out, err = run(capsys, *verb, flag)
    assert (code, err) == (0, "")
    assert "Usage: ptmtorrent" in out
    assert "<bool>" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--home", "HOME", "--format", "json", "config", "show"],
        ["config", "--home", "HOME", "--format", "json", "show"],
        ["config", "show", "--home", "HOME", "--format", "json"],
        ["--home", "elsewhere", "--format", "quiet", "config", "show", "--home=HOME", "--format=json", "-v"],
    ],
)
def test_global_options_stand_before_or_after_the_verb(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    code, out, _ = run(capsys, *(argument.replace("HOME", str(tmp_path)) for argument in arguments))
    rows = {row["setting"]: row["value"] for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert (rows["home"], rows["format"]) == (str(tmp_path), "json")


def test_verbose_after_the_verb_shows_where_an_error_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, ValueError("seven"))
    assert "Traceback" in run(capsys, "subsets", "-v")[2]


def test_a_usage_error_is_json_when_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--format", "json", "fech")
    assert (code, err) == (2, "")
    assert {key: json.loads(out)[key] for key in ("type", "code")} == {"type": "error", "code": 2}


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_ends_with_the_code_of_its_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: type[PtmError]
) -> None:
    raising(monkeypatch, kind("it happened to `x`", hint="type `y`"))
    code, out, _ = run(capsys, "--format", "json", "subsets")
    assert code == kind.code
    assert json.loads(out) == {"type": "error", "code": kind.code, "message": "it happened to `x`", "hint": "type `y`"}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "run the same command again"),
        (OSError(28, "No space left on device", "/full"), 22, "`/full`"),
        (ValueError("seven"), 1, "unexpected ValueError: seven"),
    ],
)
def test_an_unexpected_error_ends_with_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    raising(monkeypatch, error)
    ended, out, err = run(capsys, "subsets")
    assert (ended, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), (">/dev/full", 22)])
@pytest.mark.parametrize("form", ["human", "json"])
def test_a_stdout_that_takes_nothing_is_no_traceback(tmp_path: Path, redirection: str, code: int, form: str) -> None:
    command = f'"{sys.executable}" -m ptmtorrent --home "{tmp_path}" --format {form} config show {redirection}'
    ended = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("arguments", "code"), [("list", 22), ("show hf:no/such", 22), ("--nonsense", 2)])
@pytest.mark.parametrize("redirection", ["2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_stderr_that_takes_nothing_leaves_the_exit_code(
    tmp_path: Path, arguments: str, redirection: str, code: int
) -> None:
    command = f'"{sys.executable}" -m ptmtorrent --home "{tmp_path}" --format human {arguments} {redirection}'
    ended = subprocess.run(["bash", "-c", command], stdout=subprocess.DEVNULL, check=False)
    assert ended.returncode == code


def test_what_libraries_log_is_not_printed(tmp_path: Path) -> None:
    wanted = ["trust", "add", "http://127.0.0.1:1/", "--fingerprint", "b3:" + "0" * 64]
    command = [sys.executable, "-m", "ptmtorrent", "--home", str(tmp_path), *wanted]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 40
    assert ended.stderr.startswith("error: ")


def test_verbose_shows_where_an_error_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, ValueError("seven"))
    assert "Traceback" in run(capsys, "-v", "subsets")[2]


def test_the_codes_drawn_in_the_docstring_are_those_of_the_classes() -> None:
    drawn = dict(re.findall(r"^    [│ ]*(?:[├└]── )?(\w+) +(\d+)", errors.__doc__ or "", flags=re.MULTILINE))
    assert {name: int(code) for name, code in drawn.items()} == {
        kind.__name__: kind.code for kind in all_errors() if kind.__module__ == errors.__name__
    }


def test_a_malformed_setting_is_10_and_spares_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTMTORRENT_JOBS", "many")
    code, _, err = run(capsys, "config", "show")
    assert code == 10
    assert "PTMTORRENT_JOBS" in err
    assert run(capsys, "fetch", "--help")[0] == 0


def test_config_show_names_every_origin_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    _, out, _ = run(capsys, "--home", str(tmp_path), "--format", "json", "config", "show")
    rows = {row["setting"]: (row["value"], row["origin"]) for row in map(json.loads, out.splitlines())}
    assert rows["home"] == (str(tmp_path), "flag --home")
    assert rows["format"] == ("json", "flag --format")
    assert rows["hf_token"] == ("set", "environment HF_TOKEN")
    assert rows["channel"] == (None, "default")
    assert "hf_secret" not in out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, "ptmtorrent 0.1.0\n", "")


WAITING = """
import sys
from ptmtorrent.cli._session import stopping
from ptmtorrent.errors import Interrupted
with stopping() as stop:
    print("ready", flush=True)
    while not stop.wait(60):
        pass
    print("stopped", flush=True)
    if sys.argv[1] == "linger":
        while True:
            stop.wait(60)
            import time
            time.sleep(0.01)
"""


def start_waiting(how: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_work_to_stop(number: signal.Signals) -> None:
    process = start_waiting("leave")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "stopped\n")
    assert "stopping" in err


def test_the_second_signal_ends_the_process_with_130() -> None:
    process = start_waiting("linger")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ptmtorrent", "config", "show"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
