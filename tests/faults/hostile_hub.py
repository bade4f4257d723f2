"""Hubs between which and the program stands one that spoils the answers of one place, and the real program.

The simulators of the tests serve a proper hub; `HostileHub` passes on what they answer, but for one place, whose
answers have one fault. What the program commits is compared with what it commits undisturbed.
"""

import http.client
import random
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.store.store import Store
from tests.faults import hostile_lies
from tests.faults.hostile import (
    ALTERED,
    FAULTS,
    SHORT_SECONDS,
    SLOW,
    Inside,
    Outcome,
    Request,
    Send,
    alter,
    listening,
    send_faulty,
    start,
    watch,
)
from tests.faults.hostile_lies import Answer
from tests.faults.hostile_worlds import PLACES, WORLDS, World

GOOD_ENDS = frozenset({0, 3, 11, 12, 20, 30, 31, 40, 50})
HUB_SLOW = (*SLOW, "a year")
RESUMED = ("cut, whole", "cut, changing", "cut, wrong range", "cut, longer")
"""The first answer of each file breaks off; what then answers the request for the rest has the fault."""

HUB_FAULTS = (*FAULTS, "flood", "a year")
TOKEN = "hf_secret_of_the_user"  # noqa: S105  # it opens nothing

_OWN = {"content-length", "transfer-encoding", "connection"}

Committed = dict[str, dict[str, str]]
"""SHA-256 of files, by path, by package."""


@dataclass(frozen=True)
class Case:
    """One run: the answers of `place` of the hub `world` have `fault`."""

    world: str
    place: str
    fault: str
    interrupt: bool = False

    def __str__(self) -> str:
        return f"{self.world}, {self.place}, {self.fault}{', interrupted' if self.interrupt else ''}"


@dataclass
class HostileHub:
    """Passes requests on to the simulators; the answers to those that match `pattern` have `fault`.

    `bases` are the addresses of the simulators, each with the one that stands in front of it.
    """

    fault: str = ""
    pattern: str = "none"
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    inside: str = ""
    bases: dict[str, str] = field(default_factory=dict)
    asked: threading.Event = field(default_factory=threading.Event)
    logins: list[tuple[str, str]] = field(default_factory=list)
    _begun: set[str] = field(default_factory=set)
    _stack: ExitStack = field(default_factory=ExitStack)

    def through(self, url: str) -> str:
        """Return the address that stands in front of `url`."""
        where = urlsplit(url).netloc
        base = f"{urlsplit(url).scheme}://{where}"
        if base not in self.bases:
            port = self._stack.enter_context(listening(lambda request, send: self._serve(where, request, send)))
            self.bases[base] = f"http://127.0.0.1:{port}"
        return url.replace(base, self.bases[base])

    @property
    def ports(self) -> list[int]:
        """The ports of all addresses."""
        return [urlsplit(base).port or 0 for base in self.bases.values()]

    def begin(self, fault: str, pattern: str, seed: int, inside: str) -> None:
        """Answer with `fault` what matches `pattern` from now on."""
        self.fault, self.pattern, self.chance, self.inside = fault, pattern, random.Random(seed), inside
        self.asked = threading.Event()
        self.logins, self._begun = [], set()

    def close(self) -> None:
        """Close all addresses."""
        self._stack.close()

    def _serve(self, where: str, request: Request, send: Send) -> None:
        self.logins.append((where, request.headers.get("authorization", "")))
        command = re.search(rb"command=([a-z-]+)", request.body)
        asked = f"{request.target.lstrip('/')}{' ' + command[1].decode() if command else ''}"
        if not re.search(self.pattern, asked):
            send_answer(self._ask(where, request), send)
            return
        fault = self._due(request)
        self.asked.set()
        if fault == "cut":
            send_cut(self._ask(where, request), send)
        elif fault == "whole":
            headers = {name: value for name, value in request.headers.items() if name != "range"}
            send_answer(self._ask(where, Request(request.method, request.target, headers, request.body)), send)
        elif fault in hostile_lies.LIES:
            hostile_lies.LIES[fault](lambda asked=request: self._ask(where, asked), request, self.inside, send)
        else:
            answer = self._ask(where, request)
            if fault in ALTERED and answer.status < 300:
                send_answer(answer.with_body(alter(fault, answer.body, self.chance)), send)
            elif fault in ALTERED:
                send_answer(answer, send)
            else:
                kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
                send_faulty(fault, answer.body, send, self.chance, self.inside, kind=kind)

    def _due(self, request: Request) -> str:
        if not self.fault.startswith("cut, "):
            return self.fault
        first = request.target not in self._begun
        self._begun.add(request.target)
        return "cut" if first else self.fault.removeprefix("cut, ")

    def _ask(self, where: str, request: Request) -> Answer:
        connection = http.client.HTTPConnection(where, timeout=60)
        connection.request(request.method, request.target, request.body or None, {**request.headers, "host": where})
        reply = connection.getresponse()
        body = reply.read()
        headers = [(name, self._renamed(value)) for name, value in reply.getheaders() if name.lower() not in _OWN]
        if "json" in reply.headers.get("content-type", ""):
            body = self._renamed(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        connection.close()
        return Answer(reply.status, headers, body)

    def _renamed(self, text: str) -> str:
        for base, own in self.bases.items():
            text = text.replace(base, own).replace(base.replace("127.0.0.1", "localhost"), own)
        return text


def send_answer(answer: Answer, send: Send) -> None:
    """Send a proper answer."""
    send(answer.head(len(answer.body)) + answer.body)


def send_cut(answer: Answer, send: Send) -> None:
    """Send half of an answer that promises the whole."""
    send(answer.head(len(answer.body)) + answer.body[: len(answer.body) // 2])


@contextmanager
def standing(kind: str) -> Iterator[tuple[HostileHub, World, Committed]]:
    """Serve a hub through a hostile one; yield both, and what an undisturbed clone commits."""
    with tempfile.TemporaryDirectory() as folder:
        hub = HostileHub()
        try:
            with WORLDS[kind](Path(folder), hub.through) as world, tempfile.TemporaryDirectory() as work:
                if world.ids:
                    yield hub, world, {name: dict(files) for name, files in world.expected.items()}
                    return
                ended = watch(_start(hub, world, Path(work), 60.0))
                assert ended.code in {0, 3}, ended.errors
                truth = committed(Path(work) / "home")
                assert truth, ended.errors
                yield hub, world, truth
        finally:
            hub.close()


def run_case(standing: tuple[HostileHub, World, Committed], case: Case, seed: int = 0) -> Outcome:
    """Run the program against a hub with one fault; with `interrupt`, send SIGINT once the place is asked for."""
    hub, world, truth = standing
    inner = Inside()
    with tempfile.TemporaryDirectory() as name, listening(inner.serve) as within:
        hub.begin(case.fault, PLACES[case.world][case.place].pattern, seed, f"http://127.0.0.1:{within}/latest")
        more = ("--id", world.ids[case.place]) if world.ids else ()
        started = _start(hub, world, Path(name), 60.0 if case.interrupt else SHORT_SECONDS, more)
        ended = watch(started, hub.asked if case.interrupt else None)
        hub.begin("", "none", 0, "")
        try:
            found = committed(Path(name) / "home")
        except (PtmError, AssertionError) as error:
            found = {"the store": {str(error): ""}}
        wrong = _differences(found, truth)
        if ended.code == 0 and found.keys() != truth.keys() and not world.ids and not _may_alter(case):
            wrong += [f"{name} is missing" for name in truth.keys() - found.keys()]
        leaks = sum(TOKEN in login and where != world.own for where, login in hub.logins)
        return Outcome(
            case=str(case),
            code=ended.code,
            seconds=ended.seconds,
            peak_mib=ended.peak_mib,
            wrong=() if _may_alter(case) else tuple(wrong),
            inside=len(inner.asked) + leaks,
            heard=ended.heard,
            errors=ended.errors,
            good_ends=GOOD_ENDS,
        )


def _may_alter(case: Case) -> bool:
    """Return whether nothing that the hub says elsewhere contradicts the fault, so that no reader can know of it."""
    return PLACES[case.world][case.place].unproven and case.fault in {"flipped", "changing", "cut, changing"}


def _differences(found: Committed, truth: Committed) -> list[str]:
    return sorted(
        f"{name} {path}"
        for name, files in found.items()
        for path in {**files, **truth.get(name, {})}
        if files.get(path) != truth.get(name, {}).get(path)
    )


def committed(home: Path) -> Committed:
    """Return what a home has captured, after reading every object of it."""
    if not (home / "store").is_dir():
        return {}
    found: Committed = {}
    with Store.open(home / "store") as store:
        for capture in store.captures():
            manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
            for identifier, size in manifest.objects:
                assert len(store.read(identifier)) == size, f"{identifier} is damaged"
            files = {_plain(file.name): file.sha256 for file in manifest.files}
            found[_plain(str(capture.package))] = files
    return found


def _plain(name: str) -> str:
    """Return a name without the port in it, which differs from world to world."""
    return re.sub(r"127\.0\.0\.1\+\d+", "127.0.0.1", name)


def _start(
    hub: HostileHub, world: World, work: Path, seconds: float, more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    ports = ",".join(map(str, hub.ports))
    where = ["--home", work / "home", "clone", *world.arguments, *more]
    return start("tests.faults.hub_child", [ports, seconds, *where], {"HF_TOKEN": TOKEN})


def all_cases() -> list[Case]:
    """Return every case: each place of each hub with each fault, the lies of that place, the slow ones interrupted."""
    found = []
    for world, places in PLACES.items():
        for name, place in places.items():
            if place.is_bomb:
                found += [Case(world, name, fault) for fault in place.lies]
                continue
            faults = (*HUB_FAULTS, *place.lies, *(RESUMED if place.is_file else ()))
            found += [Case(world, name, fault) for fault in faults]
            found += [Case(world, name, slow, interrupt=True) for slow in HUB_SLOW]
    return found
