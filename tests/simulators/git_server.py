"""Git remotes as a hub has them: HTTP by `git http-backend`, the LFS batch API, and LFS storage on another origin.

It goes wrong on order. What it serves is checked by the unmodified git and git-lfs (tests/interop/test_git_clients.py).
"""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from ptmtorrent.model.pointers import Pointer, format_pointer

BATCH_TYPE = "application/vnd.git-lfs+json"
WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Sample"), ("EMAIL", "sample@hub.invalid"), ("DATE", "1700000000 +0000"))
}


@dataclass
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    sent: int = 0


@dataclass
class Faults:
    """What goes wrong. Sets hold oids; `cut_at` is the byte of an object at which the connection breaks, once each."""

    gone: set[str] = field(default_factory=set)
    wrong_length: set[str] = field(default_factory=set)
    expired_once: set[str] = field(default_factory=set)
    pointers: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    cut_at: dict[str, int] = field(default_factory=dict)
    no_ranges: bool = False
    busy_batches: int = 0
    retry_after: int = 7
    expires_in: int = 3600


@dataclass
class GitServer:
    """`folder` holds the bare folders and, in `lfs/`, the objects by oid. `url` is for git, `store` for objects."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    url: str = ""
    store: str = ""
    login: str | None = None
    asked: list[Asked] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    hosted: dict[str, Path] = field(default_factory=dict)

    def remote(self, name: str) -> str:
        return f"{self.url}/{name}"

    def keep_object(self, data: bytes) -> Pointer:
        """Put an LFS object into the storage; return its pointer."""
        oid = hashlib.sha256(data).hexdigest()
        (self.folder / "lfs").mkdir(exist_ok=True)
        (self.folder / "lfs" / oid).write_bytes(data)
        return Pointer(sha256=oid, size=len(data))

    def commit(self, name: str, files: Mapping[str, bytes | Pointer], modes: Mapping[str, str] | None = None) -> str:
        """Commit exactly `files` on top of what `name` has; mode 160000 takes the id of a commit as its bytes."""
        bare = self.folder / f"{name}.git"
        if not bare.exists():
            run_git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        stream = [b"commit refs/heads/main\ncommitter Sample <sample@hub.invalid> 1700000000 +0000\ndata 3\nAdd\n"]
        if (bare / "refs" / "heads" / "main").exists():
            stream.append(b"from refs/heads/main^0\n")
        stream.append(b"deleteall\n")
        for path, content in files.items():
            mode = (modes or {}).get(path, "100644").encode()
            data = format_pointer(content) if isinstance(content, Pointer) else content
            if mode == b"160000":
                stream.append(b"M 160000 %s %s\n" % (data, _quoted(path)))
            else:
                stream.append(b"M %s inline %s\ndata %d\n%s\n" % (mode, _quoted(path), len(data), data))
        run_git("fast-import", "--quiet", "--force", folder=bare, given=b"".join(stream))
        return run_git("rev-parse", "refs/heads/main", folder=bare).decode().strip()


def _quoted(path: str) -> bytes:
    """Return a path as `git fast-import` reads any."""
    return b'"%s"' % b"".join(
        bytes((byte,)) if byte > 0x20 and byte not in b'"\\' else b"\\%03o" % byte for byte in os.fsencode(path)
    )


def run_git(*arguments: str, folder: Path | None = None, given: bytes = b"") -> bytes:
    kept = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    order = ["git", *([f"--git-dir={folder}"] if folder else []), *arguments]
    return subprocess.run(order, input=given, env={**kept, **WHO}, check=True, capture_output=True, timeout=60).stdout


@contextmanager
def serve_git(folder: Path) -> Iterator[GitServer]:
    """Serve from two threads: git and batch at 127.0.0.1, the objects at `localhost`, so that they are two origins."""
    state = GitServer(folder)
    servers = []
    for kind in (_Git, _Store):
        handler = type("Handler", (kind,), {"state": state})
        server = _Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
    state.url = f"http://127.0.0.1:{servers[0][0].server_port}"
    state.store = f"http://localhost:{servers[1][0].server_port}"
    try:
        yield state
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ClassVar[GitServer]

    def note(self) -> Asked:
        asked = Asked(self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        self.state.asked.append(asked)
        return asked

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class _Git(_Handler):
    def do_GET(self) -> None:
        self._either()

    def do_POST(self) -> None:
        self._either()

    def _either(self) -> None:
        self.note()
        given = self.body()
        if self.state.login is not None and self.headers.get("Authorization") != self.state.login:
            return self.answer(401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        path = self.path.partition("?")[0]
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch(given)
        return self._backend(given)

    def _batch(self, given: bytes) -> None:
        faults = self.state.faults
        if faults.busy_batches:
            faults.busy_batches -= 1
            return self.answer(429, headers={"Retry-After": str(faults.retry_after)})
        order = json.loads(given)
        self.state.batches.append([one["oid"] for one in order["objects"]])
        rows = [self._row(one["oid"], one["size"]) for one in order["objects"]]
        data = json.dumps({"transfer": "basic", "objects": rows, "hash_algo": "sha256"}).encode()
        return self.answer(200, data, {"Content-Type": BATCH_TYPE})

    def _row(self, oid: str, size: int) -> dict[str, object]:
        if oid in self.state.faults.gone or not (self.state.folder / "lfs" / oid).exists():
            return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
        asked = len(self.state.asked)
        action = {"href": f"{self.state.store}/{oid}?try={asked}", "expires_in": self.state.faults.expires_in}
        return {"oid": oid, "size": size, "actions": {"download": {**action, "header": {"X-Ticket": oid[:8]}}}}

    def _backend(self, given: bytes) -> None:
        path, _, query = self.path.partition("?")
        name = path.lstrip("/").split("/info/")[0].split("/git-upload-pack")[0]
        if not name.endswith(".git"):
            path = path.replace(name, f"{name}.git", 1)
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.state.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "CONTENT_LENGTH": str(len(given)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "uploadpack.allowFilter",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=given, env=variables, capture_output=True, check=False)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.answer(int(headers.pop("Status", "200").split()[0]), body, headers)


class _Store(_Handler):
    def do_GET(self) -> None:
        asked = self.note()
        faults, oid = self.state.faults, self.path.lstrip("/").partition("?")[0]
        place = self.state.folder / "lfs" / oid
        if not place.is_file() or oid in faults.vanished:
            return self.answer(404)
        if oid in faults.expired_once:
            faults.expired_once.discard(oid)
            return self.answer(403)
        if self.headers.get("X-Ticket") != oid[:8]:
            return self.answer(401)
        data = place.read_bytes()
        if oid in faults.pointers:
            data = format_pointer(Pointer(sha256=oid, size=len(data)))
        if oid in faults.wrong_length:
            data = data[:-1]
        return self._send(asked, oid, data)

    def _send(self, asked: Asked, oid: str, data: bytes) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        if wanted and not self.state.faults.no_ranges:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            start = 0
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = self.state.faults.cut_at.pop(oid, len(data))
        asked.sent = max(0, end - start)
        self.wfile.write(data[start:end])
        if end < len(data):
            self.close_connection = True
