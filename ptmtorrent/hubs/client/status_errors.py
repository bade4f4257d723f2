"""What a hub's reply means: the one place where status codes become our errors.

Hugging Face names its reasons in `X-Error-Code`; other hubs have the status alone. A reason wins over a status, because
a hub answers 401 for a package that does not exist, so as not to tell that others do.
"""

from collections.abc import Mapping
from datetime import datetime

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError, RateLimited
from ptmtorrent.http import retry_after_seconds

_MISSING = {"RepoNotFound", "RevisionNotFound", "EntryNotFound"}
_CLOSED = {"GatedRepo", "DisabledRepo"}
_TEXT_LIMIT = 200


class Unreachable(HubError):
    """The hub, or the way to it, failed in a manner that trying again may cure."""


def error_for(status: int, headers: Mapping[str, str], what: str, now: datetime) -> PtmError | None:
    """Return the error that a reply to a request for `what` stands for; None when there is none.

    `AuthError` for 401, 403 and gated packages, `NotFound` for 404 and 410, `RateLimited` for 429, `Unreachable` (worth
    trying again) for 408 and 5xx, `HubError` for any other status of 400 and above. 416 is no error here: who asked for
    a range judges it.
    """
    reason = headers.get("x-error-code", "")
    said = _error_message(headers)
    if reason in _MISSING or (status in {404, 410} and reason not in _CLOSED):
        return NotFound(f"{what} is not there: {said or reason or status}")
    if reason in _CLOSED or status in {401, 403, 451}:
        gated = ", it is gated" if reason == "GatedRepo" else ""
        return AuthError(
            f"{what} may not be read{gated}: {said or reason or status}",
            hint="accept the terms on the hub's page of the package, then set HF_TOKEN to a token of that account",
        )
    if status == 429:
        return RateLimited(f"{what} was refused: too many requests", retry_after=retry_after_seconds(headers, now))
    if status >= 500 or status == 408:
        return Unreachable(f"{what} could not be read: the hub answered {status}")
    if status >= 400 and status != 416:
        return HubError(f"{what} could not be read: the hub answered {status} {said}".rstrip())
    return None


def _error_message(headers: Mapping[str, str]) -> str:
    text = headers.get("x-error-message", "")
    return "".join(character for character in text if character.isprintable())[:_TEXT_LIMIT]
