"""Whatever a catalogue links to: bytes at paths, with Range, wrong on order."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass
class Assets:
    """`data` by path. Sets and mappings of faults hold paths; those that say `once` are used up."""

    data: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    busy_once: dict[str, int] = field(default_factory=dict)
    cut_once: dict[str, int] = field(default_factory=dict)
    expired_once: set[str] = field(default_factory=set)
    login_pages: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    loops: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve_assets() -> Iterator[Assets]:
    state = Assets()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
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
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ClassVar[Assets]

    def do_GET(self) -> None:
        path, state = self.path.partition("?")[0], self.state
        wanted = self.headers.get("Range")
        state.asked.append((path, wanted))
        if path in state.busy_once:
            return self._answer(429, headers={"Retry-After": str(state.busy_once.pop(path))})
        if path in state.moved or path in state.loops:
            return self._answer(302, headers={"Location": state.moved.get(path, path)})
        if path in state.expired_once:
            state.expired_once.discard(path)
            return self._answer(403)
        if path in state.login_pages:
            return self._answer(200, b"<html>sign in</html>", {"Content-Type": "text/html"})
        if path not in state.data:
            return self._answer(404)
        return self._send(path, state.data[path], wanted)

    def _send(self, path: str, data: bytes, wanted: str | None) -> None:
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", self.state.types.get(path, "application/octet-stream"))
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = self.state.cut_once.pop(path, len(data))
        self.wfile.write(data[start:end])
        self.close_connection = end < len(data)

    def _answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
