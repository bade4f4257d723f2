"""Keeps within the request limits of a hub, which its replies state.

Hubs count requests in fixed windows, per class of request (`api`, `resolvers`, `pages`) and account, and state in every
reply how many are left::

    RateLimit: "api";r=488;t=270                      488 left, the window ends in 270 seconds
    RateLimit-Policy: "fixed window";"api";q=500;w=300

When none is left, requests wait for the next window. While the state of a window is unknown (at its beginning, and
after a crash), one request is in flight at a time, and its reply states the limits for the others. The window is stored
(`state/rate_windows.py`) before a request is sent, so that requests of a killed process are counted.

Source: draft-ietf-httpapi-ratelimit-headers-09, and `Retry-After` (RFC 9110) for hubs that send only that.
"""

import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ptmtorrent.model.moments import Monotonic
from ptmtorrent.state.rate_windows import Budget, NoWindows, Window, Windows

SLACK_SECONDS = 1.0
"""Replies state windows in whole seconds, rounded up or down; waiting one second more is safe."""

MAX_WAIT_SECONDS = 3600.0
"""Limit of a wait. No hub has longer windows, so a longer stated wait is invalid."""

MAX_LOST = 1024
"""Limit of recorded lost replies; a hub that loses more during one reply is down."""

_ITEM = re.compile(r'"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*[0-9]+)*)')
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([0-9]{1,18})")
"""Digits after the 18th are ignored, because Python refuses to parse integers with thousands of digits."""


@dataclass
class _Account:
    """The state of one budget. `window.left` is decremented for every request that `take` admits.

    `seen` is the smallest number left that a reply stated in this window, which includes requests of other processes;
    `informed` is whether this process received such a reply. `began` is the time from which the window counts as new,
    `lost` are the times at which requests ended without a reply.
    """

    window: Window = field(default_factory=Window)
    in_flight: int = 0
    seen: int | None = None
    informed: bool = False
    began: float = float("-inf")
    lost: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LOST))

    @property
    def left(self) -> int | None:
        """Number of requests that may still be sent. `seen` may or may not include those in flight."""
        left = self.window.left
        return left if left is None or self.seen is None else min(left, self.seen - self.in_flight)


@dataclass
class RateLimiter:
    """The budgets of the session of one hub; thread-safe. `monotonic` returns seconds; `windows` stores their state.

    `share` processes use the same budgets; each takes at most an equal share of what is left at its first reply.
    """

    monotonic: Monotonic
    windows: Windows = field(default_factory=NoWindows)
    share: int = 1
    _accounts: dict[Budget, _Account] = field(default_factory=dict)
    _replied: threading.Condition = field(default_factory=threading.Condition)

    def take(self, budget: Budget) -> float | None:
        """Admit one request and return 0.0, or return the seconds to wait before the next call.

        Returns None while the reply to another request will state the limits; call `await_reply` then.
        """
        with self._replied:
            account = self._account(budget)
            window, now = account.window, self.monotonic()
            if now < window.closed_until:
                return max(window.closed_until - now, SLACK_SECONDS)
            if now >= window.ends:
                window = _next_window(account, now, self.share)
            if account.left is not None and account.left <= 0:
                # With a quota of 0, one request is admitted after the end of the window.
                return max(window.ends - now, SLACK_SECONDS)
            if not account.informed and account.in_flight:
                return None
            account.in_flight += 1
            window.left = None if window.left is None else window.left - 1
            self._store(budget, account)
            return 0.0

    def quotas(self, host: str) -> dict[str, tuple[int, int]]:
        """Return the quota and its seconds for each class of requests to `host` whose limit is known."""
        with self._replied:
            found = {budget.kind: account.window for budget, account in self._accounts.items() if budget.host == host}
        return {
            kind: (window.quota, window.seconds)
            for kind, window in found.items()
            if window.quota is not None and window.seconds is not None
        }

    def await_reply(self, seconds: float) -> None:
        """Wait until a reply is recorded, at most that many seconds."""
        with self._replied:
            self._replied.wait(seconds)

    def settle(
        self,
        budget: Budget,
        headers: Mapping[str, str] | None,
        *,
        sent: float,
        refused: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Record the reply to a request that `take` admitted at the time `sent`.

        `headers` are None without a reply; the hub may or may not have counted that request. `retry_after` is in
        seconds, for a reply that `refused` the request.
        """
        with self._replied:
            account = self._account(budget)
            account.in_flight -= 1
            now = self.monotonic()
            if sent < account.began and account.window.left is not None:
                # The hub may have counted it in the previous window, or in this one.
                account.window.left -= 1
            elif headers is None:
                account.lost.append(now)
            else:
                _apply_headers(account, budget, headers, sent, now, self.share)
            if refused:
                account.informed = False
            if retry_after is not None:
                closed = now + min(retry_after, MAX_WAIT_SECONDS) + SLACK_SECONDS
                account.window.closed_until = max(account.window.closed_until, closed)
            self._store(budget, account)
            self._replied.notify_all()

    def _account(self, budget: Budget) -> _Account:
        if budget not in self._accounts:
            self._accounts[budget] = _Account(self.windows.read(budget, self.monotonic()))
        return self._accounts[budget]

    def _store(self, budget: Budget, account: _Account) -> None:
        """Store the window, with all requests in flight counted."""
        self.windows.write(budget, msgspec.structs.replace(account.window, left=account.left), self.monotonic())


def _next_window(account: _Account, now: float, share: int) -> Window:
    """Start a window with the quota of the last one; it ends within its length from now, until a reply states when.

    At least one request is admitted, so that a quota of 0 can change. Without a stated quota there is no window; the
    first reply states one.
    """
    window, account.seen = account.window, None
    if window.quota is None or window.seconds is None:
        window.left = None
        window.ends_after, window.ends = now, now
        account.informed = account.informed and window.silent
        return window
    window.left = max(1, window.quota // share)
    window.ends_after, window.ends = now, now + min(window.seconds, MAX_WAIT_SECONDS) + SLACK_SECONDS
    account.informed, account.began = False, now
    return window


def _apply_headers(  # noqa: PLR0913, PLR0917  # a reply and its times
    account: _Account, budget: Budget, headers: Mapping[str, str], sent: float, now: float, share: int
) -> None:
    """Apply the headers of a reply that was written between `sent` and `now`.

    The end of the window is known only as an interval, because the time of writing is unknown. Windows whose intervals
    overlap are the same window; since replies overtake each other, its smallest count is the newest. A window that ends
    before the current one is outdated and ignored.
    """
    window = account.window
    policy = _parameters(headers.get("ratelimit-policy", ""), budget.kind)
    window.quota = policy.get("q", window.quota)
    window.seconds = policy.get("w", window.seconds)
    limit = _parameters(headers.get("ratelimit", ""), budget.kind)
    if "r" not in limit or "t" not in limit:
        if window.left is None:
            account.informed = window.silent = True
        return
    seconds = min(limit["t"], MAX_WAIT_SECONDS)
    after, ends = sent + seconds - SLACK_SECONDS, now + seconds + SLACK_SECONDS
    if window.left is not None and ends < window.ends_after:
        return
    # Requests lost while this reply was in transit may have been counted after it was written.
    free = limit["r"] // share - account.in_flight - sum(time > sent for time in account.lost)
    if window.left is None or after > window.ends:
        window.left, account.seen = free, limit["r"]
        window.ends_after, window.ends = after, ends
    else:
        window.left = window.left if account.informed else min(window.left, free)
        account.seen = limit["r"] if account.seen is None else min(account.seen, limit["r"])
        window.ends_after, window.ends = max(window.ends_after, after), min(window.ends, ends)
    account.informed, window.silent = True, False


def _parameters(header: str, kind: str) -> dict[str, int]:
    """Return the parameters of the item named `kind`, or of the first item that has any."""
    items = [(name, dict(_PARAMETER.findall(rest))) for name, rest in _ITEM.findall(header)]
    found = [item for item in items if item[1]]
    found.sort(key=lambda item: item[0] != kind)
    return {key: int(value) for key, value in found[0][1].items()} if found else {}


_KINDS = {"huggingface": "resolvers", "kaggle": "files"}
"""The class of file requests per hub; other hubs have one class for all requests."""

HUGGING_FACE_RESOLVERS = {
    500: 3_000,
    1_000: 5_000,
    2_500: 12_000,
    3_000: 20_000,
    6_000: 50_000,
    10_000: 100_000,
    100_000: 500_000,
}
"""Files per five minutes, by the API calls per five minutes of the same account.

Source: Hugging Face Hub documentation, "Hub rate limits", table of tiers of September 2025.
"""

_WINDOW_SECONDS = 300


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` per window of `seconds`."""

    requests: int
    seconds: int

    def hours(self, requests: int) -> float:
        """Return the hours that a number of requests takes at this limit."""
        return requests * self.seconds / max(1, self.requests) / 3600


def hours_of(hub: str, quotas: Mapping[str, tuple[int, int]], *, calls: int, files: int) -> float | None:
    """Return the hours that a number of API calls and file requests to the hub takes; None if a limit is unknown."""
    limit = file_limit(hub, quotas)
    if limit is None or "api" not in quotas:
        return None
    number, seconds = quotas["api"]
    return Limit(requests=number, seconds=seconds).hours(calls) + limit.hours(files)


def file_limit(hub: str, quotas: Mapping[str, tuple[int, int]]) -> Limit | None:
    """Return the limit of file requests to the hub named `hub`; None when it is unknown.

    `quotas` are the `(requests, seconds)` that replies stated, by class. For Hugging Face, one API call reveals the
    tier of the account, before any file is requested.
    """
    stated = quotas.get(_KINDS.get(hub, ""))
    if stated is not None:
        return Limit(requests=stated[0], seconds=stated[1])
    calls, seconds = quotas.get("api", (None, _WINDOW_SECONDS))
    if hub == "huggingface" and calls in HUGGING_FACE_RESOLVERS:
        return Limit(requests=HUGGING_FACE_RESOLVERS[calls], seconds=seconds)
    return None
