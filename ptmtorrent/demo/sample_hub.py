"""A local hub that implements the Hugging Face REST protocol, with injected faults.

Public packages need no token; `TOKEN` gives access to gated ones. The hub itself serves small files, and redirects to a
second origin (another port) for LFS files, as the real one does. The unmodified `huggingface_hub` tests it
(tests/interop/test_sample_hub_clients.py).

Source: Hugging Face Hub API documentation, and the requests that huggingface_hub 2.4 makes.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.demo.bulk import bulk_packages
from ptmtorrent.demo.hub import api, files
from ptmtorrent.demo.hub.catalogue import Catalogue, Revision
from ptmtorrent.demo.hub.exchange import Request, Response, refusal
from ptmtorrent.demo.hub.faults import Faults, Meter, Quota
from ptmtorrent.demo.hub.listing import list_packages
from ptmtorrent.demo.hub.log import RequestLog
from ptmtorrent.demo.hub.origin import Origin
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.stop import Stop

TOKEN = "hf_sample"  # noqa: S105  # it gives access to generated files only
PAGE = 1000


class SampleHub:
    """A hub that serves `packages` from threads within its `with` block.

    `page` is the length of listing and tree pages; `monotonic` is the clock of the quotas.
    """

    def __init__(  # noqa: PLR0913  # each is a parameter of tests
        self,
        packages: Iterable[Package],
        *,
        quota: Quota | None = None,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        page: int = PAGE,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self.log = RequestLog()
        self.catalogue = Catalogue(packages)
        self._faults = faults or Faults()
        self._page = page
        self._meter = Meter(quota, monotonic)
        self._busy = threading.Semaphore(self._faults.unavailable)
        self._stack = ExitStack()
        drop = self._faults.drop_after
        self._lfs = self._open_lfs((host, 0), drop)
        self._hub = Origin("hub", self._answer, self.log, (host, port), drop)

    def _open_lfs(self, address: tuple[str, int], drop: int | None) -> Origin:
        return Origin("lfs", self._answer_lfs, self.log, address, drop)

    @property
    def endpoint(self) -> str:
        """The value for `HF_ENDPOINT` or `--endpoint`."""
        return self._hub.base

    def add(self, package: Package) -> None:
        """Add a package, or replace it with a new version."""
        self.catalogue.add(package)

    def remove(self, name: str) -> None:
        """Remove the package called `name`."""
        self.catalogue.remove(name)

    def __enter__(self) -> Self:
        self._stack.enter_context(self._lfs)
        self._stack.enter_context(self._hub)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _answer(self, request: Request) -> Response:
        if self._busy.acquire(blocking=False):
            return refusal(503, "", "The hub is busy.")
        kind = "api" if request.parts[0] == "api" else "resolvers"
        headers, refused = self._meter.admit(kind, request.token)
        response = refused or (self._answer_api(request) if kind == "api" else self._answer_file(request))
        return response.with_headers(headers)

    def _answer_api(self, request: Request) -> Response:
        match request.parts[1:]:
            case ("whoami-v2",):
                return api.whoami(request, TOKEN)
            case ("models",):
                return list_packages(self.catalogue, request, self._page)
            case ("models", *rest):
                name, more = self._split(rest)
                return self._answer_package(request, name, more)
        return refusal(404, "", "No such endpoint.")

    def _answer_package(self, request: Request, name: str, rest: Sequence[str]) -> Response:
        found = self._find(request, name, rest[1] if len(rest) > 1 else "main")
        if isinstance(found, Response):
            return found
        way, *more = rest or ("revision",)
        routes: dict[str, Callable[[], Response]] = {
            "revision": lambda: api.package_info(found, request),
            "tree": lambda: api.tree(found, request, "/".join(more[1:]), self._page),
            "paths-info": lambda: api.paths_info(found, request),
            "refs": lambda: api.refs(found),
            "commits": lambda: api.commits(found),
        }
        return routes[way]() if way in routes else refusal(404, "", "No such endpoint.")

    def _answer_file(self, request: Request) -> Response:
        name, rest = self._split(request.parts)
        match rest:
            case (("resolve" | "raw") as way, revision, *path) if path:
                found = self._find(request, name, revision)
            case _:
                return refusal(404, "", "No such page.")
        if isinstance(found, Response):
            return found
        if found.package.access == "gated" and request.token != TOKEN:
            status = 403 if request.token else 401
            return refusal(status, "GatedRepo", f"Access to model {found.package.name} is restricted.")
        row = found.rows.get("/".join(path))
        if row is None:
            return api.entry_not_found(found)
        if way == "raw":
            return files.raw(found, row, self._faults)
        return files.resolve(found, row, self._lfs.base, self._faults)

    def _answer_lfs(self, request: Request) -> Response:
        row = self.catalogue.find_lfs(request.parts[-1])
        return refusal(404, "", "No such object.") if row is None else files.lfs_object(row, self._faults)

    def _split(self, parts: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Split `parts` into the name of a package, with or without an owner, and the rest."""
        length = 1 if self.catalogue.find(parts[0]) else 2
        return "/".join(parts[:length]), parts[length:]

    def _find(self, request: Request, name: str, revision: str) -> Revision | Response:
        found = self.catalogue.find(name)
        hidden = found is not None and found.package.access == "private" and request.token != TOKEN
        if found is None or hidden or name in self._faults.vanished:
            return refusal(401 if hidden else 404, "RepoNotFound", "Repository not found")
        if revision not in {"main", "refs/heads/main", found.commit}:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found


def serve(packages: Iterable[Package], ready: Callable[[str], None], stop: Stop) -> None:
    """Serve `packages` until `stop` is set; `ready` receives the endpoint."""
    with SampleHub(packages) as hub:
        ready(hub.endpoint)
        stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the hub as a program: `python -m ptmtorrent.demo.sample_hub`, which prints its endpoint."""
    parser = argparse.ArgumentParser(prog="sample_hub", description="A Hugging Face hub of sample packages.")
    parser.add_argument("--port-file", type=Path, help="also write the endpoint to this file, once the hub is ready")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=PATH", help="serve a folder as NAME")
    parser.add_argument("--bulk", nargs=2, type=int, metavar=("COUNT", "BYTES"), help="serve generated large packages")
    options = parser.parse_args(arguments)
    packages = [
        Package.from_folder(name, Path(path)) for name, _, path in (text.partition("=") for text in options.folder)
    ]
    packages += bulk_packages(*options.bulk) if options.bulk else ()
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(packages or sample_packages(), lambda endpoint: _announce(options.port_file, endpoint), stop)


def _announce(path: Path | None, endpoint: str) -> None:
    sys.stdout.write(f"{endpoint}\n")
    sys.stdout.flush()
    if path is None:
        return
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(endpoint)
    temporary.rename(path)


if __name__ == "__main__":
    main()
