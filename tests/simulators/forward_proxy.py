"""Forward proxies on loopback: one for HTTP, one for SOCKS 5. A host below `.invalid` is this machine."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE = 64 << 10


@dataclass
class ForwardProxy:
    """`url` is the address of the proxy; `asked` are the hosts, with ports, that connections were made to."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def http_proxy() -> Iterator[ForwardProxy]:
    """Run a proxy for requests in absolute form and for CONNECT."""
    with _running(_HttpHandler, "http") as proxy:
        yield proxy


@contextmanager
def socks_proxy() -> Iterator[ForwardProxy]:
    """Run a proxy that speaks SOCKS 5 without a login (RFC 1928)."""
    with _running(_SocksHandler, "socks5h") as proxy:
        yield proxy


class _Handler(socketserver.BaseRequestHandler):
    proxy: ForwardProxy

    def connect(self, host: str, port: int) -> socket.socket:
        self.proxy.asked.append(f"{host}:{port}")
        return socket.create_connection(("127.0.0.1" if host.endswith(".invalid") else host, port), timeout=30)

    def exact(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self.request.recv(length - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def relay(self, target: socket.socket) -> None:
        """Copy both ways until one of both ends."""
        back = threading.Thread(target=_copy, args=(target, self.request), daemon=True)
        back.start()
        _copy(self.request, target)
        back.join(30)


class _HttpHandler(_Handler):
    def handle(self) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.exact(1)
            line, _, rest = head.partition(b"\r\n")
            method, address, version = line.decode().split(" ")
            parts = urlsplit(f"//{address}" if method == "CONNECT" else address)
            with self.connect(parts.hostname or "", parts.port or 80) as target:
                if method == "CONNECT":
                    self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                    target.sendall(f"{method} {path} {version}\r\nConnection: close\r\n".encode() + _without(rest))
                self.relay(target)


class _SocksHandler(_Handler):
    def handle(self) -> None:
        with suppress(OSError):
            self.exact(self.exact(2)[1])
            self.request.sendall(b"\x05\x00")
            kind = self.exact(4)[3]
            host = self.exact(self.exact(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self.exact(4))
            with self.connect(host, int.from_bytes(self.exact(2))) as target:
                self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
                self.relay(target)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _running(kind: type[_Handler], scheme: str) -> Iterator[ForwardProxy]:
    state = ForwardProxy()

    class Handler(kind):  # type: ignore[misc, valid-type]  # a class for each proxy, with its state
        proxy = state

    with _Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join(10)


def _without(head: bytes) -> bytes:
    """Return the headers of a request without those for the proxy."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith((b"connection:", b"proxy-")))


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
