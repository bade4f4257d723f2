"""An HTTP/1.1 origin on one socket: parses requests, and writes responses.

Connections are kept alive and request bodies are always read. Stopping closes every connection and joins every thread,
so that none remains in a test process.
"""

import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from ptmtorrent.demo.hub.exchange import Request, Response
from ptmtorrent.demo.hub.log import Exchange, OriginName, RequestLog

Route = Callable[[Request], Response]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Origin:
    """A listening socket whose requests are answered by `route`; a context manager that serves from threads."""

    def __init__(
        self, name: OriginName, route: Route, log: RequestLog, address: tuple[str, int], drop_after: int | None
    ) -> None:
        self.name = name
        self.route = route
        self.log = log
        self.drop_after = drop_after
        self._dropped: set[str] = set()
        self._lock = threading.Lock()
        self._server = _Server(address, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=f"origin {name}")

    @property
    def base(self) -> str:
        """The address for clients, without a trailing slash."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()

    def cut_at(self, etag: str, size: int) -> int | None:
        """Return the number of bytes after which to cut off this body: once per file, only for longer files."""
        if self.drop_after is None or size <= self.drop_after:
            return None
        with self._lock:
            first = etag not in self._dropped
            self._dropped.add(etag)
        return self.drop_after if first else None


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], origin: Origin) -> None:
        self.origin = origin
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(request, socket.socket):
            with self._lock:
                self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            with self._lock:
                self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error of a client that disconnected; errors of routes are in the log."""

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client closed it first


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    server: _Server

    def handle_any(self) -> None:
        try:
            request = self._read_request()
            self._send(request, self.server.origin.route(request))
        except ConnectionError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001  # errors of the simulator are reported to the test
            self.server.origin.log.failures.append(error)
            self.close_connection = True

    do_GET = do_HEAD = do_POST = handle_any  # noqa: N815  # the names http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name http.server uses
        """Write nothing to stderr: tests use the request log."""

    def _read_request(self) -> Request:
        split = urlsplit(self.path)
        _, _, token = self.headers.get("Authorization", "").partition("Bearer ")
        return Request(
            method=self.command,
            path=split.path,
            parts=tuple(unquote(part) for part in split.path.strip("/").split("/")),
            query=parse_qs(split.query, keep_blank_values=True),
            token=token or None,
            body=self._read_body(),
            base=self.server.origin.base,
            range=self.headers.get("Range"),
        )

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, request: Request, response: Response) -> None:
        size = response.content.size
        start, stop, status, headers = 0, size, response.status, dict(response.headers)
        requested = _RANGE.fullmatch(self.headers.get("Range", "")) if response.ranged else None
        if requested:
            start, stop = int(requested[1]), min(int(requested[2] or size) + bool(requested[2]), size)
            status = 206 if start < stop else 416
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}" if status == 206 else f"bytes */{size}"
            start, stop = (start, stop) if status == 206 else (0, 0)
        self.send_response(status)
        for name, value in {"Content-Type": response.kind, "Content-Length": str(stop - start), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        exchange = self._note(request, status)
        if self.command != "HEAD":
            self._send_body(response, start, stop, exchange)

    def _note(self, request: Request, status: int) -> Exchange:
        exchange = Exchange(
            origin=self.server.origin.name,
            method=self.command,
            path=unquote(request.path),
            range=self.headers.get("Range"),
            authorized="Authorization" in self.headers,
            status=status,
        )
        self.server.origin.log.add(exchange)
        return exchange

    def _send_body(self, response: Response, start: int, stop: int, exchange: Exchange) -> None:
        cut = (
            self.server.origin.cut_at(response.headers.get("ETag", ""), stop - start)
            if "ETag" in response.headers
            else None
        )
        end = stop if cut is None else start + cut
        for data in response.content.chunks(start, end):
            exchange.sent += len(data)
            self.wfile.write(data)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
