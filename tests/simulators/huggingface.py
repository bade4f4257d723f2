"""A Hugging Face hub that goes wrong on order, and whose packages move: on the sample hub of the demo.

What is asked of it is counted in `log`. A `bend` makes of a proper answer the one that a test wants to see survived;
`order` says for which requests, and how often. Packages are replaced (`add`: their earlier commits stay, as in git),
renamed, withdrawn, and registered again by others.

The unmodified `huggingface_hub` is its judge (tests/interop/test_odd_hub_clients.py).
"""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Event, Lock
from typing import Any, Self
from urllib.parse import quote, urlencode

import msgspec

from ptmtorrent.demo.contents import Content, InMemory
from ptmtorrent.demo.hub.catalogue import Revision
from ptmtorrent.demo.hub.exchange import Request, Response, json_response, refusal
from ptmtorrent.demo.hub.listing import paged
from ptmtorrent.demo.hub.origin import Origin
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.sample_hub import SampleHub
from tests.simulators.xet import XetStore

Bend = Callable[[Response], Response]
LOGIN = b"<!doctype html><title>Log in</title><form>Log in to go on</form>"
DISCUSSIONS_PAGE = 2
COMMITS_PAGE = 2


class Cut(msgspec.Struct, frozen=True):
    """Bytes whose connection is closed after `at` of them."""

    content: Content
    at: int

    @property
    def size(self) -> int:
        return self.content.size

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        yield from self.content.chunks(start, min(stop, start + self.at))
        raise ConnectionAbortedError("cut on order")


class Slow(msgspec.Struct, frozen=True):
    """Bytes that pause after each `step` of them, until `released`."""

    content: Content
    step: int
    seconds: float
    released: Event

    @property
    def size(self) -> int:
        return self.content.size

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, self.step):
            yield b"".join(self.content.chunks(at, min(stop, at + self.step)))
            self.released.wait(self.seconds)


@dataclass
class _Order:
    bend: Bend
    path: re.Pattern[str]
    left: int | None


class OddHub(SampleHub):
    """The sample hub, and what `order` does to its answers.

    xet: files of LFS are listed with a hash of Xet, and their redirects name it; `store` has them, as on the real hub.
    records: what the listing is made of, in place of the packages: JSON of one each, the most downloaded first.
    sign: every redirect carries a signature, which opens one request; `stale` of them open none.
    """

    def __init__(  # each is one thing a test turns
        self,
        packages: Iterable[Package],
        *,
        records: Sequence[bytes] | None = None,
        xet: bool = False,
        sign: bool = False,
        stale: int = 0,
        page: int = 1000,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._orders: list[_Order] = []
        self._earlier: dict[tuple[str, str], Revision] = {}
        self._renamed: dict[str, str] = {}
        self._xet, self._sign, self._stale = xet, sign, stale
        self._records, self._length = records, page
        self._signatures: set[str] = set()
        self._numbers = count(1)
        self._lock = Lock()
        self.released = Event()
        self.store = XetStore(self._find_xet)
        self.commits: dict[str, list[dict[str, Any]]] = {}
        self.discussions: dict[str, list[dict[str, Any]]] = {}
        super().__init__(packages, page=page, **({"monotonic": monotonic} if monotonic else {}))
        self._cas = Origin("cas", self._answer_cas, self.log, ("127.0.0.1", 0), None)
        self.store.base = self._cas.base

    def __enter__(self) -> Self:
        self._stack.enter_context(self._cas)
        super().__enter__()
        self._stack.callback(self.released.set)
        return self

    def heard(self, path: str, stop: Event) -> list[float]:
        """Be silent about `path`, and set `stop` once it is asked for; the list gets the moment."""
        moments: list[float] = []

        def bend(response: Response) -> Response:
            moments.append(time.monotonic())
            stop.set()
            return self.silent(response)

        self.order(bend, path=path, times=None)
        return moments

    def silent(self, response: Response) -> Response:
        """A bend: send nothing until the hub is closed."""
        self.released.wait(30)
        return response

    def slow(self, step: int, seconds: float) -> Bend:
        """Pause so many seconds after each `step` bytes, until the hub is closed; for long, this is a stall."""
        return lambda response: msgspec.structs.replace(
            response, content=Slow(response.content, step, seconds, self.released)
        )

    def order(self, bend: Bend, *, path: str = "", times: int | None = 1) -> None:
        """Bend the answers to the next `times` requests (None: all) whose decoded path `path` is found in.

        Requests of the second origin are `/lfs/<oid>`, those of Xet storage `/cas/…`. Of several orders for a request
        the first is carried out.
        """
        self._orders.append(_Order(bend, re.compile(path), times))

    def add(self, package: Package) -> None:
        """Serve a package, or a new commit of one, whose earlier commits stay."""
        if (before := self.catalogue.find(package.name)) is not None:
            self._earlier[package.name, before.commit] = before
        super().add(package)

    def squash(self, name: str) -> None:
        """Forget the earlier commits of a package, as `super_squash_history` does."""
        self._earlier = {key: revision for key, revision in self._earlier.items() if key[0] != name}

    def withdraw(self, name: str) -> None:
        """Have a package deleted by its owner."""
        self.squash(name)
        self.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Have a package called otherwise: the old name leads to the new one."""
        found = self.catalogue.find(old)
        assert found is not None
        self.remove(old)
        self._renamed[old] = new
        self.add(msgspec.structs.replace(found.package, name=new, registered_as=old))

    def _answer(self, request: Request) -> Response:
        path = "/" + "/".join(request.parts)
        moved = self._moved(request)
        response = super()._answer(request) if moved is None else moved
        if self._xet and "/tree/" in path and response.status == 200:
            response = _with_xet(response)
        return self._bent(path, response)

    def _split(self, parts: Sequence[str]) -> tuple[str, Sequence[str]]:
        return (parts[0], parts[1:]) if parts[0] in self._renamed else super()._split(parts)

    def _moved(self, request: Request) -> Response | None:
        """Answer for a name of old: 307 to the same place under the new name."""
        head = request.parts[:2] if request.parts[0] == "api" else ()
        name, rest = self._split(request.parts[len(head) :] or ("",))
        if name not in self._renamed:
            return None
        path = "/".join(quote(part, safe="/") for part in (*head, self._renamed[name], *rest))
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        return Response(status=307, headers={"Location": f"/{path}{query}"})

    def _answer_api(self, request: Request) -> Response:
        if self._records is None or request.parts[1:] != ("models",):
            return super()._answer_api(request)
        rows, headers = paged(self._records, request, min(self._length, int(request.first("limit") or self._length)))
        return Response(status=200, headers=headers, content=InMemory(b"[" + b",".join(rows) + b"]"))

    def _answer_package(self, request: Request, name: str, rest: Sequence[str]) -> Response:
        match rest:
            case ("xet-read-token", revision) if self._xet:
                found = self._find(request, name, revision)
                return found if isinstance(found, Response) else self.store.token()
            case ("discussions", *more):
                found = self._find(request, name, "main")
                return found if isinstance(found, Response) else self._answer_discussions(request, name, more)
            case ("commits", _) if name in self.commits:
                return _paged(self.commits[name], request)
        return super()._answer_package(request, name, rest)

    def _answer_discussions(self, request: Request, name: str, rest: Sequence[str]) -> Response:
        known = self.discussions.get(name, [])
        if rest:
            found = [each for each in known if str(each["num"]) == rest[0]]
            return json_response(found[0]) if found else refusal(404, "", "No such discussion.")
        start = int(request.first("p") or 0) * DISCUSSIONS_PAGE
        brief = [{key: value for key, value in each.items() if key != "events"} for each in known]
        shown = brief[start : start + DISCUSSIONS_PAGE]
        return json_response({"discussions": shown, "count": len(known), "start": start, "numClosedDiscussions": 0})

    def _answer_file(self, request: Request) -> Response:
        response = super()._answer_file(request)
        if response.status != 302:
            return response
        if self._xet:
            oid = response.headers["X-Linked-ETag"].strip('"')
            name, rest = self._split(request.parts)
            token = f'<{request.base}/api/models/{name}/xet-read-token/{rest[1]}>; rel="xet-auth"'
            response = response.with_headers({"X-Xet-Hash": oid[::-1], "Link": token})
        if self._sign:
            with self._lock:
                signature = str(next(self._numbers))
                if self._stale:
                    self._stale -= 1
                else:
                    self._signatures.add(signature)
            response = response.with_headers({"Location": f"{response.headers['Location']}?Signature={signature}"})
        return response

    def _answer_cas(self, request: Request) -> Response:
        return self._bent("/cas/" + "/".join(request.parts), self.store.answer(request))

    def _find_xet(self, name: str) -> Content | None:
        row = self.catalogue.find_lfs(name[::-1])
        return None if row is None else row.content

    def _answer_lfs(self, request: Request) -> Response:
        path = "/" + "/".join(request.parts)
        if self._sign and not self._is_signed(request):
            return self._bent(path, refusal(403, "", "Request has expired"))
        return self._bent(path, super()._answer_lfs(request))

    def _is_signed(self, request: Request) -> bool:
        with self._lock:
            signature = request.first("Signature") or ""
            signed = signature in self._signatures
            self._signatures.discard(signature)
        return signed

    def _bent(self, path: str, response: Response) -> Response:
        with self._lock:
            found = next((order for order in self._orders if order.left != 0 and order.path.search(path)), None)
            if found is not None:
                found.left = None if found.left is None else found.left - 1
        return response if found is None else found.bend(response)

    def _find(self, request: Request, name: str, revision: str) -> Revision | Response:
        found = super()._find(request, name, revision)
        earlier = self._earlier.get((name, revision))
        is_past = isinstance(found, Response) and found.headers.get("X-Error-Code") == "RevisionNotFound"
        return earlier if is_past and earlier is not None else found


def refuse(status: int, code: str = "", message: str = "", **headers: str) -> Bend:
    """Refuse in the hub's own way; `Retry_After` becomes `Retry-After`."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda _: refusal(status, code, message, named)


def cut(at: int) -> Bend:
    """Close the connection after `at` bytes of the body."""
    return lambda response: msgspec.structs.replace(response, content=Cut(response.content, at))


def whole(response: Response) -> Response:
    """Send everything with 200, whatever range was asked for."""
    return msgspec.structs.replace(response, ranged=False)


def resized(change: int) -> Bend:
    """Send so many bytes more, or fewer, and say so in `Content-Length`."""

    def bend(response: Response) -> Response:
        data = _all(response)
        return msgspec.structs.replace(response, content=InMemory((data + bytes(max(0, change)))[: len(data) + change]))

    return bend


def promising(change: int) -> Bend:
    """Announce so many bytes more, or fewer, than are sent; then the connection is closed."""

    def bend(response: Response) -> Response:
        size = response.content.size
        promised = msgspec.structs.replace(response, content=Cut(response.content, size), ranged=False)
        return promised.with_headers({"Content-Length": str(size + change)})

    return bend


def gzipped(response: Response) -> Response:
    """Compress the body on the way, though nobody asked for it."""
    packed = msgspec.structs.replace(response, content=InMemory(gzip.compress(_all(response), mtime=0)), ranged=False)
    return packed.with_headers({"Content-Encoding": "gzip"})


def login_page(*, padded: bool = False) -> Bend:
    """Send a page that asks to log in, with 200; `padded` to the length of what belongs there."""

    def bend(response: Response) -> Response:
        size = max(response.content.size, len(LOGIN)) if padded else len(LOGIN)
        return Response(status=200, content=InMemory(LOGIN.ljust(size)), kind="text/html; charset=utf-8")

    return bend


def redirect(location: str) -> Bend:
    """Send elsewhere."""
    return lambda _: Response(status=302, headers={"Location": location})


def exchanged(data: bytes) -> Bend:
    """Send other bytes of the same kind."""
    return lambda response: msgspec.structs.replace(response, content=InMemory(data))


def _all(response: Response) -> bytes:
    return b"".join(response.content.chunks(0, response.content.size))


def _with_xet(response: Response) -> Response:
    entries = json.loads(_all(response))
    for entry in entries:
        if "lfs" in entry:
            entry["xetHash"] = entry["lfs"]["oid"][::-1]
    return json_response(entries, {key: value for key, value in response.headers.items() if key == "Link"})


def _paged(rows: Sequence[dict[str, Any]], request: Request) -> Response:
    start = int(request.first("p") or 0)
    more = start + COMMITS_PAGE < len(rows)
    query = urlencode({**request.query, "p": [str(start + COMMITS_PAGE)]}, doseq=True)
    link = {"Link": f'<{request.base}{request.path}?{query}>; rel="next"'} if more else {}
    return json_response(rows[start : start + COMMITS_PAGE], link)
