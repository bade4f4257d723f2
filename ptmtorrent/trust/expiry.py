"""When the signatures of a channel expire, as text: the date, and a warning ahead of it."""

from datetime import datetime, timedelta

from ptmtorrent.model.moments import spell
from ptmtorrent.model.text import count

RENEW_HINT = "run `ptmtorrent renew`, then publish"
WARN_BEFORE = timedelta(days=30)
WARN_BEFORE_TIMESTAMP = timedelta(days=7)
"""A timestamp is valid for 30 days, so it is due a week before its end."""


def is_due(role: str, expires: datetime, now: datetime) -> bool:
    """Return whether a role has expired, or is near enough to its expiry to be warned of."""
    return now >= expires - (WARN_BEFORE_TIMESTAMP if role == "timestamp" else WARN_BEFORE)


def spell_expiry(role: str, expires: datetime, now: datetime, *, hint: str = "") -> str:
    """Return the date, and how near it is once it is due: `2027-01-04T00:00:00Z (in 6 days; HINT)`."""
    if not is_due(role, expires, now):
        return spell(expires)
    days = (expires - now).days
    when = f"in {count(days, 'day')}" if expires > now else "expired"
    return f"{spell(expires)} ({when}; {hint})" if hint else f"{spell(expires)} ({when})"
