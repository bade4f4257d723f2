"""Keeps a pace for a library that reads the network itself: its bytes are taken from a thread that can be left.

Such a library may wait without end, and none of our checks run while it waits. Here a thread of its own waits for it;
the time that the reader of the bytes needs for them is not counted.
"""

import queue
import time
from collections.abc import Callable, Generator, Iterator
from threading import Event, Thread

from ptmtorrent.network import HALT_SECONDS, Halt, Pace


def watch(start: Callable[[], Iterator[bytes]], pace: Pace, halt: Halt) -> Generator[bytes]:
    """Yield what the iterator of `start` yields; both run in a thread, which ends at its next piece once it is left.

    Raises:
        TimeoutError: no piece came for `silent` seconds, or fewer bytes than the least rate over the window.
        Interrupted: `halt` raised it; whatever `start` or the iterator raises.
    """
    inbox: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=1)
    left = Event()
    Thread(target=_work, args=(start, inbox, left), daemon=True, name="watched").start()
    tally = _Tally(pace)
    try:
        while (item := _next(inbox, tally, halt)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()


def _work(
    start: Callable[[], Iterator[bytes]], inbox: "queue.Queue[bytes | BaseException | None]", left: Event
) -> None:
    def put(item: bytes | BaseException | None) -> None:
        while not left.is_set():
            try:
                inbox.put(item, timeout=HALT_SECONDS)
            except queue.Full:
                continue
            return

    try:
        for piece in start():
            put(piece)
            if left.is_set():
                return
    except BaseException as error:  # noqa: BLE001  # it is raised again where the bytes are read
        put(error)
        return
    put(None)


def _next(
    inbox: "queue.Queue[bytes | BaseException | None]", tally: "_Tally", halt: Halt
) -> bytes | BaseException | None:
    tally.expect()
    while True:
        halt()
        began = time.monotonic()
        try:
            item = inbox.get(timeout=HALT_SECONDS)
        except queue.Empty:
            tally.count(time.monotonic() - began, 0)
            continue
        tally.count(time.monotonic() - began, len(item) if isinstance(item, bytes) else 0)
        return item


class _Tally:
    """The bytes that came, and the seconds that were waited for them."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._silent = 0.0
        self._waited = 0.0
        self._received = 0

    def expect(self) -> None:
        self._silent = 0.0

    def count(self, waited: float, received: int) -> None:
        pace = self._pace
        self._silent += waited
        self._waited += waited
        self._received += received
        if received == 0 and self._silent >= pace.silent:
            raise TimeoutError(f"no byte came for {pace.silent:g} seconds")
        if self._waited >= pace.window:
            if self._received < pace.least_rate * self._waited:
                raise TimeoutError(f"fewer than {pace.least_rate} bytes a second came for {pace.window:g} seconds")
            self._waited, self._received = 0.0, 0
