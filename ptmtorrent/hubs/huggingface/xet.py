"""Downloads files from Xet storage by the Xet protocol. The only module that imports `hf_xet`.

The hub issues a token for the storage of a package. `hf_xet` asks the storage which runs of chunks make up a file, then
fetches, unpacks and joins them; a relay passes its requests on. Files are downloaded range by range, so that a token
does not expire during a range.
The library has no deadline of ours and hears no signal, and it is known to hang (xet-core issues 800, 850 and 898), so
a watchdog ends a download that does not keep `PACE`: the file is then downloaded over plain HTTP.

Source: Xet protocol specification 1.1; hf-xet 1.8.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ptmtorrent import http
from ptmtorrent.errors import ConfigError, HubError, Interrupted
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.client.watchdog import watch
from ptmtorrent.hubs.huggingface.xet_relay import XetRelay
from ptmtorrent.model.bounds import decode_json

RANGE_BYTES = 1 << 30
MIN_TOKEN_SECONDS = 300
"""A token that expires sooner is replaced before use."""

PACE = msgspec.structs.replace(http.PACE, silent=180.0, window=180.0, least_rate=8192)
"""What the storage must keep: bytes come only once a whole run of chunks, at most 64 MiB, has been fetched."""

MAX_STALLS = 3
"""Number of stalls in a row after which the storage is not asked again."""

ABORT_SECONDS = 0.5

_SETTINGS = {
    "telemetry.enabled": False,
    "client.retry_max_attempts": 3,
    "client.retry_base_delay": "200ms",
    "client.read_timeout": "120s",
    "reconstruction.min_reconstruction_fetch_size": 64 << 20,
    "reconstruction.max_reconstruction_fetch_size": RANGE_BYTES,
    "reconstruction.min_prefetch_buffer": 32 << 20,
    "reconstruction.download_buffer_size": 64 << 20,
    "reconstruction.download_buffer_perfile_size": 32 << 20,
    "reconstruction.download_buffer_limit": 128 << 20,
}
"""By default hf-xet reports every transfer to its vendor, and takes more than 1 GB of memory.

It waits longer than a session does, so that it hears from the relay why a request failed.
"""


class _Access(msgspec.Struct, frozen=True, rename="camel"):
    cas_url: str
    access_token: str
    exp: int


class XetStorage:
    """Xet storage. `read` requests tokens from the hub: it is called with a URL and a description for messages.

    The storage is asked by the session `hub`, whose stop ends its downloads, and its URLs have one of `schemes`.

    Raises:
        ConfigError: hf-xet is not installed.
    """

    def __init__(self, read: Callable[[str, str], bytes], hub: Session, schemes: tuple[str, ...] = ("https",)) -> None:
        try:
            import hf_xet
        except ImportError as error:
            raise ConfigError(
                "`--xet` needs hf-xet", hint="install it (pip install hf-xet), or leave `--xet` out"
            ) from error
        self._library: Any = hf_xet
        self._session: Any = None
        self._read = read
        self._schemes = schemes
        self._hub = hub
        self._relay: XetRelay | None = None
        self._access: dict[str, _Access] = {}
        self._stalls = 0
        self._lock = threading.Lock()

    def pieces(self, address: str, name: str, size: int, start: int, what: str) -> Generator[bytes]:
        """Yield the bytes from `start` on of the file `name` in the storage, with tokens from the URL `address`.

        Raises:
            HubError: the hub gave no usable token; Unreachable: the download failed, or did not keep the pace.
            Interrupted: the stop of the hub's session is set.
        """
        info = self._library.XetFileInfo(name, size)
        for low in range(start, size, RANGE_BYTES):
            if self._stalls >= MAX_STALLS:
                raise Unreachable(f"{what} was not requested from Xet storage: it stalled {MAX_STALLS} times in a row")
            access = self._token(address, what)
            session, relayed = self._open_session(access, what)
            high = min(size, low + RANGE_BYTES)
            try:
                yield from watch(lambda: _receive(session, relayed, info, low, high), PACE, self._halt)  # noqa: B023  # called within the turn
            except TimeoutError as error:
                self._stalls += 1
                self._abandon(session)
                raise self._unreachable(address, what, error) from error
            except Interrupted:
                self._abandon(session)
                raise
            except (OSError, RuntimeError, ValueError) as error:
                raise self._unreachable(address, what, error) from error
            self._stalls = 0

    def forget(self, address: str) -> None:
        """Drop the token that was issued at `address`."""
        with self._lock:
            self._access.pop(address, None)

    def close(self) -> None:
        """Stop the relay."""
        with self._lock:
            relay, self._relay, self._session = self._relay, None, None
        if relay is not None:
            relay.close()

    def _halt(self) -> None:
        self._hub.stop.raise_if_set("the download from Xet storage")

    def _open_session(self, access: _Access, what: str) -> tuple[Any, _Access]:
        """Return the session, whose buffers all downloads share, and the access by the relay."""
        with self._lock:
            try:
                self._relay = relay = self._relay or XetRelay(self._hub, self._schemes)
            except OSError as error:
                raise Unreachable(f"{what} could not be downloaded from Xet storage: {error}") from error
            if self._session is None:
                settings = {**_SETTINGS, "client.unix_socket_path": relay.socket}
                self._session = self._library.XetSession(self._library.XetConfig().with_config(settings))
            return self._session, msgspec.structs.replace(access, cas_url=relay.address(access.cas_url))

    def _abandon(self, session: Any) -> None:  # noqa: ANN401
        """End all downloads of a session, the only way to end one that waits; later ones take a new session."""
        with self._lock:
            if self._session is session:
                self._session = None
        ending = threading.Thread(target=session.sigint_abort, daemon=True, name="xet abort")
        ending.start()
        ending.join(ABORT_SECONDS)

    def _unreachable(self, address: str, what: str, error: Exception) -> Unreachable:
        """Return the error for a failed download; the token may be the cause, so it is dropped."""
        self.forget(address)
        return Unreachable(f"{what} could not be downloaded from Xet storage: {error}")

    def _token(self, address: str, what: str) -> _Access:
        with self._lock:
            access = self._access.get(address)
            if access is None or access.exp < time.time() + MIN_TOKEN_SECONDS:
                access = self._access[address] = self._ask(address, what)
        return access

    def _ask(self, address: str, what: str) -> _Access:
        body = self._read(address, f"the token of Xet storage for {what}")
        try:
            access = decode_json(body, _Access)
            scheme = urlsplit(access.cas_url).scheme
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HubError(f"the token of Xet storage for {what} could not be read: {error}") from error
        if scheme not in self._schemes:
            raise HubError(f"the token of Xet storage for {what} names `{access.cas_url}`: refused")
        self._hub.check_address(access.cas_url, f"Xet storage for {what}")
        return access


def _receive(session: Any, access: _Access, info: Any, low: int, high: int) -> Iterator[bytes]:  # noqa: ANN401
    """Yield the bytes of a range; the thread that reads a stream is the only one that may cancel it."""
    group = session.new_download_stream_group(
        endpoint=access.cas_url, token=access.access_token, token_expiry_unix_secs=access.exp
    )
    stream = group.download_stream(info, start=low, end=high)
    try:
        for piece in stream:
            low += len(piece)
            yield piece
    finally:
        stream.cancel()
    if low < high:
        raise OSError(f"it ended {high - low} bytes early")  # as the others do when a session is ended
