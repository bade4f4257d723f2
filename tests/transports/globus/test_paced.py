"""Every call of the Globus SDK has a deadline and hears a stop; a server that stalls, drips or is silent holds none."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from globus_sdk.transport import RequestCallerInfo, RetryContext
from globus_sdk.transport.retry_config import RetryConfig

from ptmtorrent.errors import Interrupted, TransportError
from ptmtorrent.model.records import Event, Retry
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus import paced
from ptmtorrent.transports.globus.locations import GlobusAccess
from ptmtorrent.transports.globus.login import https_header, open_service
from ptmtorrent.transports.globus.paced import PacedTransport
from tests.test_network import Habit, drip, endless_headers, reply, serving, silent, stall

CLIENT = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
SECRET = "s"  # noqa: S105  # of a client that exists here alone
COLLECTION = "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize("habit", [drip, stall, silent, endless_headers])
def test_exchange_has_a_deadline(habit: Habit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "EXCHANGE_SECONDS", 0.5)
    began = time.monotonic()
    with serving(habit) as url, pytest.raises(requests.exceptions.ReadTimeout):
        PacedTransport().session.get(url, timeout=paced.HTTP_SECONDS)
    assert time.monotonic() - began < 3


def access_in(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> GlobusAccess:
    for service in ("AUTH", "TRANSFER"):
        monkeypatch.setenv(f"GLOBUS_SDK_SERVICE_URL_{service}", f"{url}/")
    return GlobusAccess(folder=folder, client_id=CLIENT, client_secret=SECRET, here=None, patience=60)


def ask_for_a_task(access: GlobusAccess, stop: Stop) -> object:
    with open_service(access, stop) as service:
        return service.task(CLIENT)


def ask_for_a_header(access: GlobusAccess, stop: Stop) -> object:
    return https_header(access, COLLECTION, "host.invalid", stop=stop)


@pytest.mark.parametrize("ask", [ask_for_a_task, ask_for_a_header])
@pytest.mark.parametrize("habit", [drip, silent])
def test_stop_is_heard_while_the_service_is_waited_for(
    ask: Callable[[GlobusAccess, Stop], object], habit: Habit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, asked = Stop(), threading.Event()

    def noticed(connection: object) -> None:
        asked.set()
        habit(connection)  # type: ignore[arg-type]  # a socket

    with serving(noticed) as url:
        access = access_in(tmp_path, url, monkeypatch)
        set_at: list[float] = []

        def set_stop() -> None:
            asked.wait(20)
            time.sleep(0.2)
            set_at.append(time.monotonic())
            stop.set()

        threading.Thread(target=set_stop).start()
        with pytest.raises(Interrupted):
            ask(access, stop)
    assert time.monotonic() - set_at[0] < 1


def test_stop_is_heard_while_a_request_waits_to_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()

    def busy(connection: object) -> None:
        stop.set()
        connection.sendall(b"HTTP/1.1 503 X\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]

    began = time.monotonic()
    with serving(busy) as url, pytest.raises(Interrupted):
        ask_for_a_task(access_in(tmp_path, url, monkeypatch), stop)
    assert time.monotonic() - began < 5


def test_service_that_stalls_is_a_transport_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "EXCHANGE_SECONDS", 0.1)
    monkeypatch.setattr(PacedTransport, "_retry_sleep", lambda *_: None)
    with serving(silent) as url, pytest.raises(TransportError, match="cannot be reached"):
        ask_for_a_task(access_in(tmp_path, url, monkeypatch), Stop())


def test_retries_of_the_service_are_reported_once_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    monkeypatch.setattr(Stop, "wait", lambda *_: False)
    with serving(reply(503)) as url:
        transport = PacedTransport(emit=events.append)
        config = RetryConfig(backoff=lambda ctx: float(ctx.attempt))
        response = transport.session.get(url, timeout=5)
        for attempt in range(4):
            context = RetryContext(attempt, caller_info=RequestCallerInfo(retry_config=config), response=response)
            transport._retry_sleep(config, context)  # what the SDK calls
    found = [
        (event.attempt, event.attempts, event.seconds, event.reason) for event in events if isinstance(event, Retry)
    ]
    assert found == [(4, 6, 2.0, "the service answered 503 X"), (5, 6, 3.0, "the service answered 503 X")]
