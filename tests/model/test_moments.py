"""Clocks that are behind are warned of; what is no instant is not."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ptmtorrent.model.moments import SKEW, behind_note, spell

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_an_instant_is_spelled_in_utc_to_the_second() -> None:
    moment = datetime(2026, 11, 20, 13, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=1, minutes=30)))
    assert spell(moment) == "2026-11-20T12:00:00Z"


def test_a_clock_behind_what_was_seen_is_warned_of() -> None:
    note = behind_note(NOW, spell(NOW + 2 * SKEW), "a capture")

    assert note is not None
    assert note.warning
    assert note.message == (
        "The clock of this machine shows 2026-11-20T12:00:00Z, but a capture has the time 2026-11-20T12:02:00Z: "
        "check the clock (`date -u`)"
    )


@pytest.mark.parametrize(
    "seen",
    [
        None,
        "",
        "last tuesday",
        "2026-11-20",
        "2027-01-01T00:00:00",
        "9999-12-31T23:59:59.999999-24:00",
        spell(NOW),
        spell(NOW + SKEW),
        spell(NOW - 10 * SKEW),
    ],
)
def test_a_clock_that_may_be_right_and_what_is_no_instant_warn_of_nothing(seen: str | None) -> None:
    assert behind_note(NOW, seen, "a capture") is None
