"""One package as two hubs, in a separate process: a git remote with LFS, and a Hugging Face hub.

The metadata comes from the simulators that the tests use. The weights come from here by `sendfile`, so that what is
measured is the client: the kernel moves the bytes, and Python is asked once a request.

usage: python -m bench_clone.serving FOLDER PACKAGE: prints the two addresses and serves until its stdin is closed
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from ptmtorrent.demo.hub.exchange import Request, Response
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.model.pointers import Pointer
from tests.simulators.git_server import serve_git

NAME = "bench/weights"


class Hub(SampleHub):
    """The sample hub, with its LFS files at another address."""

    weights = ""

    def _answer_file(self, request: Request) -> Response:
        response = super()._answer_file(request)
        place = response.headers.get("Location", "")
        return response.with_headers({"Location": f"{self.weights}/{place.rpartition('/')[2]}"}) if place else response


class Weights:
    """The files of one folder by their SHA-256, at `base`."""

    def __init__(self, files: dict[str, Path]) -> None:
        handler = type("Handler", (_Handler,), {"files": files})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, Path]

    def do_GET(self) -> None:
        place = self.files.get(self.path.partition("?")[0].rpartition("/")[2])
        if place is None:
            self.send_error(404)
            return
        size = place.stat().st_size
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.flush()
        with place.open("rb") as file:
            while start < size:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, size - start)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve(folder: Path, package: Path) -> Iterator[tuple[str, str]]:
    """Serve the files in `package`; yield the addresses of the git remotes and of the Hugging Face hub."""
    paths = {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*")) if path.is_file()}
    served = Package.from_folder(NAME, package, licence="mit", downloads=100)
    large = {file.path for file in served.files if file.is_lfs}
    by_oid = {_sha256(paths[path]): paths[path] for path in large}
    oids = {place: oid for oid, place in by_oid.items()}
    with Weights(by_oid) as weights, serve_git(folder) as git, Hub([served]) as hub:
        git.store = hub.weights = weights.base
        git.commit(
            NAME,
            {
                path: Pointer(sha256=oids[place], size=place.stat().st_size) if path in large else place.read_bytes()
                for path, place in paths.items()
            },
        )
        (folder / "lfs").mkdir(exist_ok=True)
        for oid in by_oid:
            (folder / "lfs" / oid).touch()  # the batch API checks that it exists; the bytes come from elsewhere
        yield git.url, hub.endpoint


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    with serve(Path(sys.argv[1]), Path(sys.argv[2])) as (git, hub):
        print(json.dumps({"git": git, "hub": hub}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
