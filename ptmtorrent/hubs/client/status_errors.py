"""Maps the status codes of hubs to errors of this project.

Hugging Face states a reason in `X-Error-Code`; other hubs send only the status. A reason takes precedence, because a
hub returns 401 for a package that does not exist, so as not to reveal which packages do.
"""

from collections.abc import Mapping
from datetime import datetime

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError, RateLimited
from ptmtorrent.http import retry_after_seconds

_MISSING = {"RepoNotFound", "RevisionNotFound", "EntryNotFound"}
_OF_PACKAGE = _MISSING - {"EntryNotFound"}
_CLOSED = {"GatedRepo", "DisabledRepo"}
_MAX_MESSAGE_CHARACTERS = 200


class Unreachable(HubError):
    """The hub or the connection to it failed; a retry may succeed."""


class HostUnreachable(HubError):
    """The host of one file, which is not the hub's, does not exist or accepts no connection."""


class InternalAddress(HubError):
    """An address leads into the network of this machine, and is not requested."""


class PackageGone(NotFound):
    """The package itself, or the revision, does not exist on the hub."""


class PackageClosed(AuthError):
    """The package itself is gated or disabled."""


class Hidden(PackageGone):
    """The hub shows the thing to no one without a login: it does not exist, or it is private."""


def error_for(status: int, headers: Mapping[str, str], what: str, now: datetime) -> PtmError | None:
    """Return the error for a reply to a request for `what`; None if it is not an error.

    `AuthError` for 401 and 403 (`PackageClosed` for gated packages), `NotFound` for 404 and 410 (`PackageGone` if the
    reason says so of the whole package, `Hidden` for 401 with such a reason), `RateLimited` for 429, `Unreachable`
    (worth a retry) for 408 and 5xx, `HubError` for other statuses from 400 on. 416 is left to the caller that
    requested a range.
    """
    reason = headers.get("x-error-code", "")
    message = _error_message(headers)
    if reason in _MISSING or (status in {404, 410} and reason not in _CLOSED):
        kind = Hidden if status == 401 else PackageGone if reason in _OF_PACKAGE else NotFound
        return kind(f"{what} does not exist: {message or reason or status}")
    if reason in _CLOSED or status in {401, 403, 451}:
        gated = ", because it is gated" if reason == "GatedRepo" else ""
        refused = AuthError(
            f"{what} cannot be accessed{gated}: {message or reason or status}",
            hint="accept the terms on the page of the package, then set HF_TOKEN to a token of that account",
        )
        return PackageClosed(refused.message, hint=refused.hint) if reason in _CLOSED else refused
    if status == 429:
        return RateLimited(f"{what} was refused: too many requests", retry_after=retry_after_seconds(headers, now))
    if status >= 500 or status == 408:
        return Unreachable(f"{what} could not be read: the hub returned {status}")
    if status >= 400 and status != 416:
        return HubError(f"{what} could not be read: the hub returned {status} {message}".rstrip())
    return None


def _error_message(headers: Mapping[str, str]) -> str:
    text = headers.get("x-error-message", "")
    return "".join(character for character in text if character.isprintable())[:_MAX_MESSAGE_CHARACTERS]
