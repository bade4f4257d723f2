"""Verbs that run as processes report their results."""

from pathlib import Path

import pytest

from ptmtorrent.demo.processes import run_verb, running_hub, running_verb
from ptmtorrent.errors import PtmError


def test_events_of_a_verb_are_returned(tmp_path: Path) -> None:
    events = run_verb(tmp_path / "home", "config", "show")
    assert {event["type"] for event in events} == {"setting"}


def test_settings_and_tokens_of_the_user_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTMTORRENT_CHANNEL", "http://somewhere/")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    shown = str(run_verb(tmp_path / "home", "config", "show"))
    assert "somewhere" not in shown
    assert "environment" not in shown


def test_the_message_of_a_failed_verb_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(PtmError, match=r"`ptmtorrent publish no-such --to .*` exited with code 12: .*no-such"):
        run_verb(tmp_path / "home", "publish", "no-such", "--to", str(tmp_path / "channel"))


def test_a_verb_that_ends_before_it_is_ready_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(PtmError, match="exited before it was ready"),
        running_verb(tmp_path / "home", "config", "show", ready="listening"),
    ):
        pytest.fail("it was never ready")


def test_hub_ends_with_its_block(tmp_path: Path) -> None:
    with running_hub(tmp_path) as endpoint:
        assert endpoint.startswith("http://127.0.0.1:")
