"""Passes on what hf-xet asks of the storage, because hf-xet follows any address and waits for any server.

hf-xet is given this relay in the place of the storage, by a socket that only this user can open. The relay asks by the
session of the hub, so that requests keep its pace, end with its stop, and never reach an address inside the network of
this machine. Addresses in an answer become addresses of the relay.
"""

import base64
import binascii
import re
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import AuthError, HubError, Interrupted, NotFound, PtmError, RateLimited
from ptmtorrent.http import judge_range, stated_length
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.model.bounds import decode_json

BASE = "http://xet"
"""The relay in addresses; its name is not looked up, because hf-xet sends everything to the socket."""

WHAT = "Xet storage"
MAX_XORB_BYTES = 128 << 20
"""Limit of the part of a xorb that is asked for at once; xorbs have at most 64 MiB."""

_RECONSTRUCTION = re.compile(r"/v[12]/reconstructions/[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})")
_ADDRESS_KEY = "url"


class XetRelay:
    """A relay by `session` to storage whose addresses have one of `schemes`. `close` it."""

    def __init__(self, session: Session, schemes: tuple[str, ...]) -> None:
        self._session = session
        self._schemes = schemes
        self._folder = Path(tempfile.mkdtemp(prefix="ptmtorrent-"))
        self.socket = str(self._folder / "xet")
        """The socket on which it listens."""
        try:
            self._server = _Server(self.socket, type("Handler", (_Handler,), {"relay": self}))
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop listening; what is being passed on ends with the session."""
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, storage: str) -> str:
        """Return the address under which the relay offers the storage at the URL `storage`."""
        return f"{BASE}/{_hidden(storage.rstrip('/'))}"

    @contextmanager
    def reconstruction(self, storage: str, path: str, asked: dict[str, str]) -> Iterator[bytes]:
        """Yield the description of a file, with the addresses of its parts replaced.

        Raises:
            HubError: it is not JSON, too long, or has an address that is not allowed; otherwise as `Session.read`.
        """
        body, _ = self._session.read(self._checked(f"{storage}{path}"), asked, budget="", what=WHAT)
        try:
            answer = decode_json(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HubError(f"{WHAT} could not be read: {error}") from error
        yield msgspec.json.encode(self._replaced(answer))

    @contextmanager
    def part(self, url: str, asked: dict[str, str]) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the length of the part of a xorb that was asked for, and its bytes.

        Raises:
            HubError: another range was sent, it is too long or its length is not stated; otherwise as `Session.open`.
        """
        wanted = _RANGE.fullmatch(asked.get("Range", ""))
        if wanted is None:
            raise HubError(f"{WHAT} could not be read: hf-xet asks for the range {asked.get('Range', '')[:100]!r}")
        first, last = int(wanted[1]), int(wanted[2])
        length = last + 1 - first
        if not 0 < length <= MAX_XORB_BYTES:
            raise HubError(f"{WHAT} could not be read: it names a part of {length:,} bytes")
        with self._session.open(self._checked(url), asked, budget="", what=WHAT) as reply:
            skip = judge_range(reply, WHAT, first=first, last=last, refused=HubError)
            if skip is None or stated_length(reply) < skip + length:
                raise HubError(f"{WHAT} could not be read: it has fewer bytes than it says")
            yield length, _cut(reply.iter_raw(), skip, length)

    def _checked(self, url: str) -> str:
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = ""
        if scheme not in self._schemes:
            raise HubError(f"{WHAT} leads to {url[:200]!r}: refused")
        return url

    def _replaced(self, value: Any) -> Any:  # noqa: ANN401  # unvalidated JSON
        if isinstance(value, dict):
            return {
                key: f"{BASE}/part/{_hidden(self._checked(each))}"
                if key == _ADDRESS_KEY and isinstance(each, str)
                else self._replaced(each)
                for key, each in value.items()
            }
        return [self._replaced(each) for each in value] if isinstance(value, list) else value


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that hf-xet closed."""


class _Handler(BaseHTTPRequestHandler):
    relay: XetRelay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the name that the library calls
        asked = {name: self.headers[name] for name in ("Authorization", "Range") if self.headers[name]}
        self.close_connection = True
        try:
            self._pass_on(asked)
        except PtmError as error:
            # A status that hf-xet does not try again, unless that may help.
            codes = ((Unreachable, 503), (RateLimited, 429), (AuthError, 403), (NotFound, 404), (Interrupted, 404))
            code = next((code for kind, code in codes if isinstance(error, kind)), 404)
            self._send_head(code, 0)

    def _pass_on(self, asked: dict[str, str]) -> None:
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "part":
            with self.relay.part(_shown(rest), {name: asked[name] for name in asked if name == "Range"}) as found:
                length, pieces = found
                self._send_part(length, pieces)
            return
        if not _RECONSTRUCTION.fullmatch(f"/{rest}"):
            raise NotFound(f"{WHAT} is not asked for `{self.path[:200]}`")
        with self.relay.reconstruction(_shown(kind), f"/{rest}", asked) as body:
            self._send_head(200, len(body))
            self.wfile.write(body)

    def _send_part(self, length: int, pieces: Iterator[bytes]) -> None:
        self._send_head(206, length)
        # The head is sent, so an error can only be shown by ending too early.
        with suppress(PtmError):
            for piece in pieces:
                self.wfile.write(piece)

    def _send_head(self, code: int, length: int) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if code == 200 else "application/octet-stream")
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _cut(pieces: Iterator[bytes], skip: int, length: int) -> Iterator[bytes]:
    """Yield `length` bytes of `pieces` after the first `skip`."""
    for piece in pieces:
        part = piece[skip : skip + length]
        skip = max(0, skip - len(piece))
        length -= len(part)
        yield part
        if not length:
            return


def _hidden(url: str) -> str:
    return base64.urlsafe_b64encode(url.encode(errors="surrogatepass")).decode()


def _shown(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, ValueError) as error:
        raise NotFound(f"{WHAT} is not asked for `{text[:200]}`") from error
