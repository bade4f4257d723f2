"""Keeps within a hub's request limits by reading what every reply says of them.

Hubs count requests in fixed windows, a count for each class of request (`api`, `resolvers`, `pages`) and each account,
and say on every reply how much is left::

    RateLimit: "api";r=488;t=270                      488 left, the window ends in 270 seconds
    RateLimit-Policy: "fixed window";"api";q=500;w=300

So the next request waits for the next window before the hub has to refuse it. While nothing is known of a window, as
at its beginning and after a crash, one request is under way at a time: its reply tells what the others may do. What is
known is kept (`windows.py`) before a request is sent, so that a process that is killed leaves nothing uncounted.

Source: draft-ietf-httpapi-ratelimit-headers-09, and `Retry-After` (RFC 9110) where a hub says no more than that.
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
"""Windows are announced in whole seconds, rounded either way; a second more is never refused."""

MAX_WAIT_SECONDS = 3600.0
"""No window of any hub is longer; who says so is not believed, but asked again after an hour."""

MAX_LOST = 1024
"""Limit of lost replies that are remembered; a hub that loses more in the time of one reply is down."""

_ITEM = re.compile(r'"([^"]*)"((?:\s*;\s*[a-z]+\s*=\s*[0-9]+)*)')
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([0-9]{1,18})")
"""What goes on after 18 digits is as good as endless, and Python refuses to read thousands of them."""


@dataclass
class _Account:
    """What is known of one budget. `window.left` counts down with every request taken, whatever becomes of it.

    `seen` is the smallest number that a reply of this window said is left, which tells of requests of others too;
    `told` is whether any did, to this process. `began` is the moment from which the window was taken for a new one, and
    `lost` are those at which requests ended without a reply.
    """

    window: Window = field(default_factory=Window)
    in_flight: int = 0
    seen: int | None = None
    told: bool = False
    began: float = float("-inf")
    lost: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LOST))

    @property
    def left(self) -> int | None:
        """How many more requests may be sent; those under way may be among those the hub has `seen`, or not."""
        left = self.window.left
        return left if left is None or self.seen is None else min(left, self.seen - self.in_flight)


@dataclass
class RateLimiter:
    """The budgets of one hub's session; safe to use from many threads. `monotonic` gives seconds.

    `share` processes spend from the same budgets, each no more than its part of what is left when it first hears of it.
    """

    monotonic: Monotonic
    windows: Windows = field(default_factory=NoWindows)
    share: int = 1
    _accounts: dict[Budget, _Account] = field(default_factory=dict)
    _replied: threading.Condition = field(default_factory=threading.Condition)

    def use_windows(self, windows: Windows) -> None:
        """Keep what is known in `windows` from now on, and go by what they hold already."""
        with self._replied:
            self.windows = windows

    def take(self, budget: Budget) -> float | None:
        """Take one request out of the budget and return 0.0, or return how many seconds to wait before asking again.

        None when another request is under way whose reply will tell: then `await_reply`.
        """
        with self._replied:
            account = self._account(budget)
            window, now = account.window, self.monotonic()
            if now < window.closed_until:
                return max(window.closed_until - now, SLACK_SECONDS)
            if now >= window.ends:
                window = _next_window(account, now, self.share)
            if account.left is not None and account.left <= 0:
                # With a quota of nothing the wait is for the window's end, and then one request asks again.
                return max(window.ends - now, SLACK_SECONDS)
            if not account.told and account.in_flight:
                return None
            account.in_flight += 1
            window.left = None if window.left is None else window.left - 1
            self._keep(budget, account)
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
        """Take note of a reply to a request that `take` let through at the moment `sent`.

        `headers` are None when no reply came: the hub may have counted the request or not. `retry_after` is in
        seconds, for a reply that `refused`.
        """
        with self._replied:
            account = self._account(budget)
            account.in_flight -= 1
            now = self.monotonic()
            if sent < account.began and account.window.left is not None:
                # It may have been counted in the window before, or in this one.
                account.window.left -= 1
            elif headers is None:
                account.lost.append(now)
            else:
                _learn(account, budget, headers, sent, now, self.share)
            if refused:
                account.told = False
            if retry_after is not None:
                closed = now + min(retry_after, MAX_WAIT_SECONDS) + SLACK_SECONDS
                account.window.closed_until = max(account.window.closed_until, closed)
            self._keep(budget, account)
            self._replied.notify_all()

    def _account(self, budget: Budget) -> _Account:
        if budget not in self._accounts:
            self._accounts[budget] = _Account(self.windows.read(budget, self.monotonic()))
        return self._accounts[budget]

    def _keep(self, budget: Budget, account: _Account) -> None:
        """Write down the window as it stands if everything under way is counted."""
        self.windows.write(budget, msgspec.structs.replace(account.window, left=account.left), self.monotonic())


def _next_window(account: _Account, now: float, share: int) -> Window:
    """Begin a window: the quota of the last one, ending somewhere within its length from now; one reply will tell.

    A quota of nothing would never let another request through to say that it has changed. What no hub told of before
    has no window: its first reply states one.
    """
    window, account.seen = account.window, None
    if window.quota is None or window.seconds is None:
        window.left = None
        window.ends_after, window.ends = now, now
        account.told = account.told and window.silent
        return window
    window.left = max(1, window.quota // share)
    window.ends_after, window.ends = now, now + min(window.seconds, MAX_WAIT_SECONDS) + SLACK_SECONDS
    account.told, account.began = False, now
    return window


def _learn(  # noqa: PLR0913, PLR0917  # a reply and its moments
    account: _Account, budget: Budget, headers: Mapping[str, str], sent: float, now: float, share: int
) -> None:
    """Read the headers of a reply that was written between `sent` and `now`.

    The end of the window is known only to lie between two moments, because the reply took its time. Windows whose ends
    may be one and the same are the same: there the smallest count is the newest, as replies overtake each other. One
    that ended before the one we know is news of the past.
    """
    window = account.window
    policy = _parameters(headers.get("ratelimit-policy", ""), budget.kind)
    window.quota = policy.get("q", window.quota)
    window.seconds = policy.get("w", window.seconds)
    limit = _parameters(headers.get("ratelimit", ""), budget.kind)
    if "r" not in limit or "t" not in limit:
        if window.left is None:
            account.told = window.silent = True
        return
    seconds = min(limit["t"], MAX_WAIT_SECONDS)
    after, ends = sent + seconds - SLACK_SECONDS, now + seconds + SLACK_SECONDS
    if window.left is not None and ends < window.ends_after:
        return
    # What was lost while this reply was on its way may have been counted after it was written.
    free = limit["r"] // share - account.in_flight - sum(moment > sent for moment in account.lost)
    if window.left is None or after > window.ends:
        window.left, account.seen = free, limit["r"]
        window.ends_after, window.ends = after, ends
    else:
        window.left = window.left if account.told else min(window.left, free)
        account.seen = limit["r"] if account.seen is None else min(account.seen, limit["r"])
        window.ends_after, window.ends = max(window.ends_after, after), min(window.ends, ends)
    account.told, window.silent = True, False


def _parameters(header: str, kind: str) -> dict[str, int]:
    """Return the parameters of the item named `kind`, or of the first item that has any."""
    items = [(name, dict(_PARAMETER.findall(rest))) for name, rest in _ITEM.findall(header)]
    found = [item for item in items if item[1]]
    found.sort(key=lambda item: item[0] != kind)
    return {key: int(value) for key, value in found[0][1].items()} if found else {}
