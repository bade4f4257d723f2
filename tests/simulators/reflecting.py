"""Servers that repeat what they were sent, ask for a login, or redirect: for what must not be repeated or sent on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tests.static import Ranged, serve_handler


class _Reflecting(BaseHTTPRequestHandler):
    status: ClassVar[int]
    word: ClassVar[str]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        sent, quoted = self.headers.get("Authorization", ""), quote(self.word, safe="")
        self.asked.append(sent)
        told = f"{sent} {self.word} {quoted} http://me:{quoted}@hub.invalid{self.path}"
        body = json.dumps({"error": told, "message": told, "objects": [], told: told}).encode()
        self.send_response(self.status, told)
        self.send_header("X-Error-Message", told)
        self.send_header("WWW-Authenticate", f'Basic realm="{quoted}"')
        self.send_header("Link", f'<http://me:{quoted}@127.0.0.1/next?token={quoted}>; rel="next"')
        self.send_header("Location", f"ftp://me:{quoted}@hub.invalid/{quoted}")
        self.send_header("Content-Type", "application/json" if self.status == 200 else "text/plain")
        self.send_header("Content-Encoding", quoted if self.status == 206 else "identity")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Closed(Ranged):
    login: ClassVar[str]

    def do_GET(self) -> None:  # noqa: N802  # the name that the library calls
        if self.headers.get("Authorization") != self.login:
            self.send_error(401)
        else:
            super().do_GET()


class _Redirecting(BaseHTTPRequestHandler):
    target: ClassVar[str]

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"{self.target}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def reflecting(status: int, word: str) -> Iterator[tuple[str, list[str]]]:
    """Answer everything with `status`, `word` and what was sent; yields `HOST:PORT` and the logins that were sent."""
    asked: list[str] = []
    with serve_handler(type("Handler", (_Reflecting,), {"status": status, "word": word, "asked": asked})) as server:
        yield server, asked


@contextmanager
def closed(folder: Path, login: str) -> Iterator[str]:
    """Serve `folder` to requests whose `Authorization` is `login`; yields `HOST:PORT`."""

    class Handler(_Closed):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

    Handler.login = login
    with serve_handler(Handler) as server:
        yield server


@contextmanager
def redirecting(target: str) -> Iterator[str]:
    """Redirect everything to the same path below `target`; yields `HOST:PORT`."""
    with serve_handler(type("Handler", (_Redirecting,), {"target": target})) as server:
        yield server
