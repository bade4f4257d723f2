from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ptmtorrent.errors import Interrupted
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.stop import Stop


@dataclass
class Time:
    """A clock that advances only when `pause` is called."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float, stop: Stop) -> None:
        if stop.is_set():
            raise Interrupted("stopped")
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def session(time: Time) -> Iterator[Session]:
    made = Session(monotonic=time.monotonic, pause=time.pause)
    yield made
    made.close()
