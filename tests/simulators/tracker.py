"""A BitTorrent tracker on loopback: remembers who announced, and tells the others (BEP 3, BEP 23)."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from ptmtorrent.model import bencode
from tests.static import serve_handler

Ports = dict[bytes, set[int]]


@contextmanager
def tracker() -> Iterator[tuple[str, Ports]]:
    """Run a tracker; yields its announce URL, and the ports that announced, by infohash."""
    known: Ports = defaultdict(set)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = dict(parse_qsl(urlsplit(self.path).query, encoding="latin-1"))
            infohash, port = asked["info_hash"].encode("latin-1"), int(asked["port"])
            others = known[infohash] - {port}
            known[infohash].add(port)
            peers = b"".join(b"\x7f\x00\x00\x01" + other.to_bytes(2, "big") for other in sorted(others))
            body = bencode.encode({b"interval": 1, b"min interval": 1, b"peers": peers})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a client that has left
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with serve_handler(Handler) as server:
        yield f"http://{server}/announce", known
