"""A session hears the stop of the run that uses it, also while a hub is silent."""

import threading
import time

import pytest

from ptmtorrent.errors import Interrupted
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.stop import Stop
from tests.faults.hostile import Request, Send, listening

HEARD_SECONDS = 5.0


def test_stop_that_a_run_gives_to_a_session_is_heard_while_the_hub_is_silent() -> None:
    asked, ended = threading.Event(), threading.Event()

    def silent(request: Request, send: Send) -> None:
        del request, send
        asked.set()
        ended.wait(60)

    session = Session()
    session.stop = stop = Stop()

    def interrupt() -> None:
        asked.wait(60)
        stop.set()

    threading.Thread(target=interrupt).start()
    with listening(silent) as port:
        began = time.monotonic()
        with pytest.raises(Interrupted):
            session.read(f"http://127.0.0.1:{port}/models", {}, budget="api", what="the listing")
        assert time.monotonic() - began < HEARD_SECONDS
        ended.set()
    session.close()
