"""A web server over a channel folder, in a thread, that counts requests and the bytes of their bodies."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

BLOCK_BYTES = 1 << 20


@dataclass
class Served:
    """Where the folder is served, and what was asked for since the last `take`."""

    url: str = ""
    requests: int = 0
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: int) -> None:
        """Count one request."""
        with self.lock:
            self.requests, self.sent = self.requests + 1, self.sent + sent

    def take(self) -> tuple[int, int]:
        """Return requests and bytes, and count from zero again."""
        with self.lock:
            seen, self.requests, self.sent = (self.requests, self.sent), 0, 0
        return seen


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve `folder` on loopback until the block ends."""
    served = Served()

    class Handler(_Handler):
        top, counts = folder, served

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that ended."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    top: Path
    counts: Served

    def do_GET(self) -> None:
        path = self.top / unquote(self.path).lstrip("/")
        if not path.is_file():
            return self._refuse(404)
        total = path.stat().st_size
        asked = self.headers.get("Range", "")
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or total - 1), total - 1)
        if start > end and total:
            return self._refuse(416)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.counts.add(end - start + 1)
        return self._send(path, start, end - start + 1)

    def _send(self, path: Path, start: int, left: int) -> None:
        with path.open("rb") as file:
            file.seek(start)
            while left and (data := file.read(min(left, BLOCK_BYTES))):
                self.wfile.write(data)
                left -= len(data)

    def _refuse(self, status: int) -> None:
        self.counts.add(0)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
