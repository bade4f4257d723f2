"""A deadline for what must not wait: opening a FIFO waits for ever, and only a signal ends that."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 60.0


@contextmanager
def deadline(seconds: float = SECONDS) -> Iterator[None]:
    """Fail what is still waiting after `seconds`, also inside a system call. For the main thread."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still waiting after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
