from datetime import UTC, datetime

import pytest

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError, RateLimited
from ptmtorrent.hubs.client.status_errors import Hidden, PackageClosed, PackageGone, Unreachable, error_for

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "GatedRepo", PackageClosed),
        (403, "GatedRepo", PackageClosed),
        (401, "RepoNotFound", Hidden),
        (401, "", AuthError),
        (403, "", AuthError),
        (404, "RepoNotFound", PackageGone),
        (404, "RevisionNotFound", PackageGone),
        (404, "EntryNotFound", NotFound),
        (410, "", NotFound),
        (429, "", RateLimited),
        (408, "", Unreachable),
        (500, "", Unreachable),
        (503, "", Unreachable),
        (400, "", HubError),
        (418, "", HubError),
    ],
)
def test_status_and_reason_become_a_project_error(status: int, reason: str, kind: type[PtmError]) -> None:
    error = error_for(status, {"x-error-code": reason}, "`it`", NOW)

    assert type(error) is kind
    assert "`it`" in str(error)


@pytest.mark.parametrize("status", [200, 206, 204, 416])
def test_successful_replies_give_no_error(status: int) -> None:
    assert error_for(status, {}, "`it`", NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("\u00b2", None),
    ],
)
def test_retry_after_is_read_in_both_spellings(text: str, seconds: float | None) -> None:
    error = error_for(429, {"retry-after": text}, "`it`", NOW)

    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


def test_messages_of_a_hub_cannot_move_the_cursor_of_a_terminal() -> None:
    error = error_for(403, {"x-error-message": "no\x1b[2J entry" + "y" * 1000}, "`it`", NOW)

    assert error is not None
    assert "\x1b" not in error.message
    assert len(error.message) < 300
