"""Keeps within a hub's request limits by reading what every reply says of them.

Hubs count requests in fixed windows, a count for each class of request (`api`, `resolvers`, `pages`), and say on every
reply how much is left::

    RateLimit: "api";r=488;t=270                      488 left, the window ends in 270 seconds
    RateLimit-Policy: "fixed window";"api";q=500;w=300

So the next request waits for the next window before the hub has to refuse it.
Source: draft-ietf-httpapi-ratelimit-headers-09, and `Retry-After` (RFC 9110) where a hub says no more than that.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SLACK_SECONDS = 1.0
"""Windows are announced in whole seconds, rounded down; a second more is never refused."""

MAX_WAIT_SECONDS = 3600.0
"""No window of any hub is longer; who says so is not believed, but asked again after an hour."""

_SAME_WINDOW_SECONDS = 2.0
_ITEM = re.compile(r'"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*[0-9]+)*)')
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([0-9]{1,18})")
"""What goes on after 18 digits is as good as endless, and Python refuses to read thousands of them."""


@dataclass
class _Window:
    quota: int | None = None
    left: int | None = None
    ends: float = 0.0
    in_flight: int = 0


@dataclass
class Governor:
    """The budgets of all (host, class) pairs; safe to use from many threads. `monotonic` gives seconds."""

    monotonic: Callable[[], float]
    _windows: dict[tuple[str, str], _Window] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, host: str, budget: str) -> float:
        """Take one request out of the budget and return 0.0, or return how many seconds to wait before asking again."""
        with self._lock:
            window = self._windows.setdefault((host, budget), _Window())
            now = self.monotonic()
            if now >= window.ends:
                # A quota of nothing would never let another request through to say that it has changed.
                window.left = window.quota or None
            if window.left is not None and window.left - window.in_flight <= 0:
                return max(window.ends - now, SLACK_SECONDS)
            window.in_flight += 1
            return 0.0

    def settle(self, host: str, budget: str, headers: Mapping[str, str], retry_after: float | None = None) -> None:
        """Take note of a reply to a request that `take` let through.

        `headers` are empty when none came; `retry_after` is in seconds, for a reply that refused.
        """
        with self._lock:
            window = self._windows[host, budget]
            window.in_flight -= 1
            _learn(window, budget, headers, self.monotonic())
            if retry_after is not None:
                window.left = 0
                window.ends = self.monotonic() + min(retry_after, MAX_WAIT_SECONDS) + SLACK_SECONDS


def _learn(window: _Window, budget: str, headers: Mapping[str, str], now: float) -> None:
    policy = _parameters(headers.get("ratelimit-policy", ""), budget)
    window.quota = policy.get("q", window.quota)
    limit = _parameters(headers.get("ratelimit", ""), budget)
    if "r" not in limit or "t" not in limit:
        return
    ends = now + min(limit["t"], MAX_WAIT_SECONDS) + SLACK_SECONDS
    # Replies overtake each other: within one window the smallest count is the newest.
    same = window.left is not None and abs(ends - window.ends) <= _SAME_WINDOW_SECONDS
    window.left = min(window.left, limit["r"]) if same and window.left is not None else limit["r"]
    window.ends = ends


def _parameters(header: str, budget: str) -> dict[str, int]:
    """Return the parameters of the item named `budget`, or of the first item that has any."""
    items = [(name, dict(_PARAMETER.findall(rest))) for name, rest in _ITEM.findall(header)]
    found = [item for item in items if item[1]]
    found.sort(key=lambda item: item[0] != budget)
    return {key: int(value) for key, value in found[0][1].items()} if found else {}
