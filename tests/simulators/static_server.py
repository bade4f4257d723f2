"""A static web server over a channel folder that counts what it sends and, when told to, lies about it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

Lie = Literal[
    "none",
    "ignores range",
    "cut",
    "short",
    "longer",
    "encoded",
    "wrong range",
    "error",
    "gone",
    "part as whole",
    "cut part as whole",
]


@dataclass
class Asked:
    """One request: path, first byte, and how many bytes of the body were sent."""

    path: str
    offset: int
    sent: int


@dataclass
class StaticServer:
    """What is served, how it lies about packs, and what was asked. `change` may alter the bytes of any file.

    Every connection ends after `close_after` bytes of a body, whatever the file.
    """

    folder: Path
    url: str = ""
    lie: Lie = "none"
    cut_after: int = 1 << 62
    close_after: int = 1 << 62
    bytes_per_second: int = 0
    change: Callable[[str, bytes], bytes] = lambda path, data: data  # noqa: ARG005
    hidden: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)

    @property
    def pack_bytes(self) -> int:
        return sum(asked.sent for asked in self.asked if asked.path.startswith("packs/"))


@contextmanager
def serve(folder: Path, lie: Lie = "none") -> Iterator[StaticServer]:
    """Serve `folder` on loopback from a thread."""
    state = StaticServer(folder, lie=lie)

    class Handler(_Handler):
        server_state = state

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: StaticServer

    def do_GET(self) -> None:
        state = self.server_state
        path = unquote(self.path).lstrip("/")
        lie = state.lie if path.startswith("packs/") else "none"
        place = state.folder / path
        if lie == "gone" or path in state.hidden or not place.is_file():
            return self._refuse(404)
        if lie == "error":
            return self._refuse(503)
        data = state.change(path, place.read_bytes())
        asked = self.headers.get("Range")
        if asked is None or lie == "ignores range":
            return self._send(Asked(path, 0, 0), 200, len(data), data, lie)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
        if start >= len(data):
            return self._refuse(416)
        return self._send(Asked(path, start, 0), 206, len(data), data[start : end + 1], lie)

    def _send(self, asked: Asked, status: int, total: int, body: bytes, lie: Lie) -> None:
        self.server_state.asked.append(asked)
        self.send_response(200 if lie.endswith("part as whole") else status)
        if status == 206:
            shift = 1 if lie == "wrong range" else 0
            first = asked.offset + shift
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{total}")
        if lie == "encoded":
            self.send_header("Content-Encoding", "gzip")
        if lie == "short":
            body = body[: len(body) // 2]
        if lie == "longer":
            body += b"more" * 1000
        if lie in {"short", "longer"}:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._write(asked, body, lie)

    def _write(self, asked: Asked, body: bytes, lie: Lie) -> None:
        most = min(self.server_state.close_after, self.server_state.cut_after if lie.startswith("cut") else len(body))
        try:
            for at in range(0, min(most, len(body)), 64 << 10):
                part = body[at : min(at + (64 << 10), most)]
                asked.sent += len(part)  # first: the client may look as soon as it has them
                self.wfile.write(part)
                if self.server_state.bytes_per_second:
                    time.sleep(len(part) / self.server_state.bytes_per_second)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        if most < len(body):
            self.close_connection = True

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
