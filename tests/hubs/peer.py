"""A web server with scripted answers, for replies that a proper hub would not give."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.static import serve_handler


@dataclass
class Asked:
    path: str
    headers: Mapping[str, str]


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: bool = True
    cut: int | None = None
    slow: float = 0.0


Answer = Callable[[Asked], Reply]


class Peer:
    """Answers every GET and POST with `answer`; `asked` are the requests. Bodies are truncated after `cut` bytes."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.base = ""


@contextmanager
def serving(answer: Answer) -> Iterator[Peer]:
    """Serve on a port that the system chooses until the block ends."""
    peer = Peer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, {key.lower(): value for key, value in self.headers.items()})
            peer.asked.append(asked)
            reply = peer.answer(asked)
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            if reply.length:
                self.send_header("Content-Length", str(len(reply.body)))
            self.close_connection = not reply.length or reply.cut is not None
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
            self.end_headers()
            for byte in reply.body if reply.slow else ():
                self.wfile.write(bytes([byte]))
                time.sleep(reply.slow)
            self.wfile.write(b"" if reply.slow else reply.body[: reply.cut])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
            """Log nothing."""

    with serve_handler(Handler) as server:
        peer.base = f"http://{server}"
        yield peer


def json_reply(text: str, **headers: str) -> Reply:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Reply(body=text.encode(), headers={"Content-Type": "application/json; charset=utf-8", **named})


def ranged(data: bytes, asked: Asked, **more: str) -> Reply:
    """Return the answer of a server that supports ranges."""
    wanted = asked.headers.get("range")
    if wanted is None:
        return Reply(body=data, headers=more)
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    if start >= len(data):
        return Reply(416, headers={"Content-Range": f"bytes */{len(data)}", **more})
    return Reply(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **more})
