"""Downloads files from Xet storage by the Xet protocol. The only module that imports `hf_xet`.

The hub issues a token for the storage of a package. `hf_xet` asks the storage which runs of chunks make up a file, then
fetches, unpacks and joins them; a relay passes its requests on. Files are downloaded range by range, so that a token
does not expire during a range.

Source: Xet protocol specification 1.1; hf-xet 1.8.
"""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import ConfigError, HubError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.huggingface.xet_relay import XetRelay
from ptmtorrent.model.bounds import decode_json

RANGE_BYTES = 1 << 30
MIN_TOKEN_SECONDS = 300
"""A token that expires sooner is replaced before use."""

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

Its own deadline is longer than that of a session, which is the one that counts.
"""


class _Access(msgspec.Struct, frozen=True, rename="camel"):
    cas_url: str
    access_token: str
    exp: int


class XetStorage:
    """Xet storage. `read` requests tokens from the hub: it is called with a URL and a description for messages.

    The storage is asked by `session`, and its URLs must have one of `schemes`.

    Raises:
        ConfigError: hf-xet is not installed.
    """

    def __init__(
        self, read: Callable[[str, str], bytes], session: Session, schemes: tuple[str, ...] = ("https",)
    ) -> None:
        try:
            import hf_xet
        except ImportError as error:
            raise ConfigError(
                "`--xet` needs hf-xet", hint="install it (pip install hf-xet), or leave `--xet` out"
            ) from error
        self._library: Any = hf_xet
        self._session = session
        self._running: tuple[XetRelay, Any] | None = None
        self._read = read
        self._schemes = schemes
        self._access: dict[str, _Access] = {}
        self._lock = threading.Lock()

    def pieces(self, address: str, name: str, size: int, start: int, what: str) -> Generator[bytes]:
        """Yield the bytes from `start` on of the file `name` in the storage, with tokens from the URL `address`.

        Raises:
            HubError: the hub gave no usable token; Unreachable: the download failed.
        """
        info = self._library.XetFileInfo(name, size)
        for low in range(start, size, RANGE_BYTES):
            access = self._token(address, what)
            try:
                relay, running = self._run()
                group = running.new_download_stream_group(
                    endpoint=relay.address(access.cas_url),
                    token=access.access_token,
                    token_expiry_unix_secs=access.exp,
                )
                stream = group.download_stream(info, start=low, end=min(size, low + RANGE_BYTES))
            except (OSError, RuntimeError, ValueError) as error:
                raise self._unreachable(address, what, error) from error
            try:
                yield from self._received(stream, address, what)
            finally:
                stream.cancel()

    def forget(self, address: str) -> None:
        """Drop the token that was issued at `address`."""
        with self._lock:
            self._access.pop(address, None)

    def close(self) -> None:
        """Stop the relay."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running[0].close()

    def _run(self) -> tuple[XetRelay, Any]:
        with self._lock:
            if self._running is None:
                relay = XetRelay(self._session, self._schemes)
                settings = {**_SETTINGS, "client.unix_socket_path": relay.socket}
                self._running = relay, self._library.XetSession(self._library.XetConfig().with_config(settings))
            return self._running

    def _received(self, stream: Any, address: str, what: str) -> Generator[bytes]:  # noqa: ANN401  # hf-xet has no types
        pieces = iter(stream)
        while True:
            try:
                piece = next(pieces, None)
            except (OSError, RuntimeError, ValueError) as error:
                raise self._unreachable(address, what, error) from error
            if piece is None:
                return
            yield piece

    def _unreachable(self, address: str, what: str, error: Exception) -> Unreachable:
        """Return the error for a failed download; the token may be the cause, so it is dropped."""
        self._session.stop.raise_if_set("the download")
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
        self._session.check_address(access.cas_url, f"Xet storage for {what}")
        return access
