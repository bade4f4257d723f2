"""The connections of the Globus SDK: each exchange has a deadline and a bound on its reply, and hears a stop.

The SDK's own limit is that of one wait for bytes: a server that drips holds it without end, and nothing ends its waits.
It repeats a failed exchange up to five times, so a call ends within seven minutes.
"""

import time
from typing import Any

import requests
from globus_sdk.transport import RequestsTransport, RetryContext
from globus_sdk.transport.retry_config import RetryConfig
from requests.adapters import HTTPAdapter

from ptmtorrent.config import proxy_environment
from ptmtorrent.model.records import Emit, Retry, ignore
from ptmtorrent.network import check_proxies, leave_when_halted
from ptmtorrent.retry import VISIBLE_SECONDS
from ptmtorrent.scrub import scrub
from ptmtorrent.stop import Stop

HTTP_SECONDS = 20.0
"""Shorter than the SDK's minute: after a lost reply, posting the same submission again is answered at once."""

EXCHANGE_SECONDS = 60.0
"""Deadline of one request with its whole reply."""

CHUNK_BYTES = 256 << 10
MAX_REPLY_BYTES = 64 << 20
"""The longest reply lists a folder of 100,000 names."""


class PacedTransport(RequestsTransport):  # type: ignore[misc]  # the SDK is untyped here
    """What a client of the SDK sends its requests with; they end with `Interrupted` once `stop` is set.

    Retries that take long are reported to `emit`.

    Raises:
        ConfigError: a proxy of the environment cannot be used.
    """

    def __init__(self, stop: Stop | None = None, emit: Emit = ignore) -> None:
        check_proxies(proxy_environment(), socks="socks")
        super().__init__(http_timeout=HTTP_SECONDS)
        self._stop = stop or Stop()
        self._emit = emit
        self._began = 0.0
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _PacedAdapter(self._stop))

    def _retry_sleep(self, retry_config: RetryConfig, ctx: RetryContext) -> None:
        """Wait before a request is repeated; the SDK would sleep."""
        seconds = min(retry_config.backoff(ctx), retry_config.max_sleep)
        now = time.monotonic()
        self._began = self._began if ctx.attempt else now
        if seconds + now - self._began >= VISIBLE_SECONDS:
            self._emit(
                Retry(
                    what="a request to Globus",
                    attempt=ctx.attempt + 2,
                    attempts=retry_config.max_retries + 1,
                    seconds=seconds,
                    reason=_reason(ctx),
                )
            )
        self._stop.wait(seconds)
        _raise_if_set(self._stop)


class _PacedAdapter(HTTPAdapter):  # type: ignore[misc]  # requests is untyped here
    """Sends requests from a thread that can be left, and reads replies with a bound on their length."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        super().__init__()

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Send one request; see `HTTPAdapter.send`."""
        send = super().send
        try:
            return leave_when_halted(
                lambda: _read_whole(send(request, *arguments, **named)),
                lambda: _raise_if_set(self._stop),
                seconds=EXCHANGE_SECONDS,
            )
        except TimeoutError as error:
            raise requests.exceptions.ReadTimeout(
                f"the reply was not complete within {EXCHANGE_SECONDS:g} seconds"
            ) from error


def _reason(ctx: RetryContext) -> str:
    if ctx.response is not None:
        return f"the service answered {ctx.response.status_code} {ctx.response.reason or ''}".rstrip()
    return scrub(str(ctx.exception) or type(ctx.exception).__name__)


def _read_whole(response: requests.Response) -> requests.Response:
    data = bytearray()
    for part in response.iter_content(CHUNK_BYTES):
        data += part
        if len(data) > MAX_REPLY_BYTES:
            response.close()
            raise requests.exceptions.ContentDecodingError(f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
    response._content = bytes(data)  # noqa: SLF001  # where `requests` keeps a body that was read
    return response


def _raise_if_set(stop: Stop) -> None:
    stop.raise_if_set("the request to Globus")
