"""The requests received by the sample hub, for tests that count requests and bytes."""

import threading
from dataclasses import dataclass, field
from typing import Literal

OriginName = Literal["hub", "lfs", "cas"]


@dataclass
class Exchange:
    """One request and its result. `sent` is the number of body bytes written to the connection so far."""

    origin: OriginName
    method: str
    path: str
    range: str | None
    authorized: bool
    status: int
    sent: int = 0


@dataclass
class RequestLog:
    """All exchanges in the order of their replies, and every error of the server itself."""

    failures: list[BaseException] = field(default_factory=list)
    _exchanges: list[Exchange] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, exchange: Exchange) -> None:
        """Record an exchange before its body is sent."""
        with self._lock:
            self._exchanges.append(exchange)

    def exchanges(self, origin: OriginName | None = None, path: str = "") -> list[Exchange]:
        """Return the exchanges with one origin whose decoded path contains `path`."""
        with self._lock:
            return [each for each in self._exchanges if origin in (None, each.origin) and path in each.path]

    def sent(self, path: str = "") -> int:
        """Return the body bytes sent for paths that contain `path`."""
        return sum(each.sent for each in self.exchanges(path=path))

    def clear(self) -> None:
        """Clear the log."""
        with self._lock:
            self._exchanges.clear()
