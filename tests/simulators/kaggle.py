"""Kaggle Models on loopback: the public GET routes we speak, and the POST routes kagglehub does, over the same files.

Files are served after a redirect to another origin (`localhost` in the place of `127.0.0.1`), as the hub does.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit


@dataclass
class Kaggle:
    """`models` by `owner/model/framework/variation`: the newest version's files. Faults hold paths of files."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    version: int = 3
    page: int = 2
    page_files: int = 2
    busy_once: dict[str, int] = field(default_factory=dict)
    cut_once: dict[str, int] = field(default_factory=dict)
    wrong_bytes: set[str] = field(default_factory=set)
    wrong_length: set[str] = field(default_factory=set)
    login_pages: set[str] = field(default_factory=set)
    loops: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve_kaggle(port: int = 0) -> Iterator[Kaggle]:
    state = Kaggle()
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"state": state}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.port = server.server_port
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
    state: ClassVar[Kaggle]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.state.asked.append((self.command, parts.path, self.headers.get("Authorization")))
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        options = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if steps[0] == "store":
            return self._store("/".join(steps[1:5]), "/".join(steps[5:]))
        if steps[:4] == ["api", "v1", "models", "list"]:
            return self._list(options)
        if steps[0] == "models":  # the page of a model, where the closed TensorFlow Hub leads to
            return self._send(200, b"<html></html>", {"Content-Type": "text/html"})
        if len(steps) == 6 and steps[5] == "get":
            return self._variations("/".join(steps[3:5]))
        return self._model("/".join(steps[3:7]), steps[7:], options)

    def _variations(self, model: str) -> None:
        names = [name for name in self.state.models if name.startswith(f"{model}/")]
        found = {"id": 5, "slug": model.split("/")[1], "instances": [self._instance(name) for name in names]}
        return self._json(found) if names else self._json({"code": 404}, 404)

    def _model(self, name: str, rest: list[str], options: dict[str, str]) -> None:
        if name not in self.state.models:
            return self._json({"code": 404}, 404)
        if rest == ["get"]:
            return self._json(self._instance(name))
        if rest[1:] == ["files"]:
            return self._json(self._files(name, options, self.state.page_files))
        return self._redirect(name, "/".join(rest[2:]))

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.state.asked.append((self.command, self.path, self.headers.get("Authorization")))
        framework = given["framework"]
        name = next(
            name
            for name in self.state.models
            if name.startswith(f"{given['ownerSlug']}/{given['modelSlug']}/")
            and name.endswith(f"/{given['instanceSlug']}")
            and _enum(name.split("/")[2]) == framework
        )
        method = self.path.rpartition("/")[2]
        if method == "GetModelInstance":
            return self._json(self._instance(name))
        if method == "ListModelInstanceVersionFiles":
            return self._json(self._files(name, {}, 25))
        return self._redirect(name, given.get("path", ""))

    def _instance(self, name: str) -> dict[str, Any]:
        _, _, framework, slug = name.split("/")
        return {"id": 7, "slug": slug, "framework": _enum(framework), "versionNumber": self.state.version}

    def _list(self, options: dict[str, str]) -> None:
        if "list" in self.state.busy_once:
            return self._send(429, headers={"Retry-After": str(self.state.busy_once.pop("list"))})
        start = int(options.get("pageToken", "0"))
        names = list(self.state.models)
        rows = [
            {"ref": "/".join(name.split("/")[:2]), "voteCount": 4, "instances": [self._instance(name)]}
            for name in names[start : start + self.state.page]
        ]
        more = start + self.state.page < len(names)
        return self._json({"models": rows, "nextPageToken": str(start + self.state.page) if more else ""})

    def _files(self, name: str, options: dict[str, str], page: int) -> dict[str, Any]:
        start = int(options.get("pageToken", "0"))
        rows = [{"name": path, "size": len(data)} for path, data in self.state.models[name].items()]
        more = start + page < len(rows)
        return {"files": rows[start : start + page], "nextPageToken": str(start + page) if more else ""}

    def _redirect(self, name: str, path: str) -> None:
        if path in self.state.closed:
            return self._json({"code": 403, "message": "consent"}, 403)
        if path in self.state.loops:
            return self._send(302, headers={"Location": self.path})
        return self._send(302, headers={"Location": f"http://localhost:{self.state.port}/store/{name}/{quote(path)}"})

    def _store(self, name: str, path: str) -> None:
        state, data = self.state, self.state.models[name][path]
        if path in state.lost:
            return self._json({"code": 404}, 404)
        if path in state.busy_once:
            return self._send(429, headers={"Retry-After": str(state.busy_once.pop(path))})
        if path in state.login_pages:
            return self._send(200, b"<html>sign in</html>", {"Content-Type": "text/html"})
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={digest}", "Accept-Ranges": "bytes"}
        data = data[::-1] if path in state.wrong_bytes else data[:-1] if path in state.wrong_length else data
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206 if wanted else 200, data[start:], headers, state.cut_once.pop(path, None))

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _enum(framework: str) -> str:
    spelled = "".join(
        f"_{character}" if character.isupper() or character.isdigit() else character for character in framework
    )
    return f"MODEL_FRAMEWORK_{spelled.upper()}"
