"""Injected faults and request quotas, for tests of clients."""

import threading
from collections.abc import Mapping

import msgspec

from ptmtorrent.demo.hub.exchange import Response, refusal
from ptmtorrent.model.moments import Monotonic


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Faults of the hub. By default there are none.

    drop_after: close the connection after that many bytes of a file, once per file.
    ignore_range: return 200 with the whole file for any requested range.
    serve_pointer: paths whose LFS pointer is served in place of the file.
    flip: paths of files whose middle byte is served with its lowest bit flipped.
    vanished: packages that are listed, but missing when requested.
    unavailable: return 503 for this many requests before serving the first.
    """

    drop_after: int | None = None
    ignore_range: bool = False
    serve_pointer: frozenset[str] = frozenset()
    flip: frozenset[str] = frozenset()
    vanished: frozenset[str] = frozenset()
    unavailable: int = 0


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Requests allowed in each fixed window, per token (one quota for all anonymous requests); None is no limit."""

    api: int | None = None
    resolvers: int | None = None
    window_seconds: int = 300


class Meter:
    """Counts requests against a quota and creates the headers that state how many are left.

    Source: Hugging Face Hub documentation, "Rate limits": `RateLimit`, `RateLimit-Policy`, `Retry-After`.
    """

    def __init__(self, quota: Quota | None, monotonic: Monotonic) -> None:
        self._quota = quota or Quota()
        self._monotonic = monotonic
        self._start = monotonic()
        self._counts: dict[tuple[str, str | None, int], int] = {}
        self._lock = threading.Lock()

    def admit(self, kind: str, token: str | None) -> tuple[Mapping[str, str], Response | None]:
        """Count a request of `kind` (`api`, `resolvers`); return its headers, and a refusal if it exceeds the quota."""
        allowed = self._quota.api if kind == "api" else self._quota.resolvers
        if allowed is None:
            return {}, None
        window = self._quota.window_seconds
        number, into = divmod(self._monotonic() - self._start, window)
        wait = int(window - into) + 1
        with self._lock:
            key = (kind, token, int(number))
            self._counts[key] = count = self._counts.get(key, 0) + 1
        headers = {
            "RateLimit": f'"{kind}";r={max(0, allowed - count)};t={wait}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={allowed};w={window}',
        }
        if count <= allowed:
            return headers, None
        return headers, refusal(429, "", "We had to rate limit you.", {"Retry-After": str(wait)})
