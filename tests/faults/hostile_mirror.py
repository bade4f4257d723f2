"""A mirror that serves one file of the sample channel with one fault, and the real program that reads from it."""

import gzip
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.model import canonical
from ptmtorrent.model.placement import Location
from ptmtorrent.model.release import PlacementRow, PlacementShard, decode_release, placement_root
from ptmtorrent.paths import sample_channel
from ptmtorrent.trust.sample import SAMPLE_CONTENT_ROOT

ROOT = Path(__file__).parents[2]
RELEASE = "releases/sample/release.json"
FILES: dict[str, str] = {
    "timestamp": r"metadata/timestamp\.json",
    "snapshot": r"metadata/\d+\.snapshot\.json",
    "targets": r"metadata/\d+\.targets\.json",
    "release": r"releases/sample/release\.json",
    "content": r".*content.*\.json",
    "placement": r".*placement.*\.json",
    "tables": r".*\.parquet",
    "packs": r"packs/.*",
}
SLOW = ("endless", "drip", "stall", "silent", "headers")
FAULTS = (
    *SLOW,
    *("huge", "short", "closed", "flipped", "longer", "gzip", "bomb of gzip", "html", "wrong range", "error"),
    *("redirect inside", "redirect loop", "changing", "parts"),
)
LIES = ("shifted", "other pack", "unknown pack", "largest")
GOOD_ENDS = {0, 3, 12, 20, 23, 30, 40, 41, 50, 60}
SHORT_SECONDS = 1.5
PEAK_MIB = 200
DEADLINE_SECONDS = 120.0
"""Every limit of a read is 1.5 seconds in these runs, and a read is tried three times; the machine may be loaded."""

Send = Callable[[bytes], None]


@dataclass
class Mirror:
    """Serves `folder` with `changed` files in the place of its own; `pattern` says which are served with `fault`."""

    folder: Path
    fault: str
    pattern: str
    chance: random.Random
    changed: Mapping[str, bytes] = field(default_factory=dict)
    inside: str = ""
    port: int = 0
    asked: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, asked_range: str | None, send: Send) -> None:
        """Send the reply for a path."""
        data = self.changed.get(path)
        if data is None:
            place = self.folder / path
            data = place.read_bytes() if place.is_file() else None
        if data is None and path.startswith("packs/"):
            data = bytes(1 << 20)
        if data is None:
            send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif re.fullmatch(self.pattern, path):
            self.asked.set()
            self._faulty(data, asked_range, send)
        else:
            _reply(data, asked_range, send)

    def _faulty(  # noqa: C901, PLR0912  # a branch for each fault
        self, data: bytes, asked_range: str | None, send: Send
    ) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        match self.fault:
            case "endless":
                send(head + b"Transfer-Encoding: chunked\r\n\r\n")
                while True:
                    send(b"10000\r\n" + bytes(65536) + b"\r\n")
            case "drip":
                send(head + b"Content-Length: %d\r\n\r\n" % len(data))
                for at in range(len(data)):
                    send(data[at : at + 1])
                    time.sleep(0.05)
            case "stall":
                send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data[: min(1000, len(data) // 2)])
                time.sleep(DEADLINE_SECONDS)
            case "silent":
                time.sleep(DEADLINE_SECONDS)
            case "headers":
                send(head)
                while True:
                    send(b"x: y\r\n")
                    time.sleep(0.05)
            case "huge":
                send(head + b"Content-Length: 1000000000000\r\n\r\n")
                while True:
                    send(bytes(65536))
            case "short":
                send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data[: self.chance.randrange(len(data))])
            case "closed":
                pass
            case "html":
                text = b"<html>log in</html>" * 100
                send(head + b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            case "gzip" | "bomb of gzip":
                packed = gzip.compress(data if self.fault == "gzip" else bytes(1 << 28), 1)
                send(head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
            case "wrong range":
                start = self.chance.randrange(len(data))
                send(_partial(data[start:], start, len(data)))
            case "error":
                send(b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n")
            case "redirect inside":
                send(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % self.inside.encode())
            case "redirect loop":
                send(b"HTTP/1.1 302 Found\r\nLocation: ?x\r\nContent-Length: 0\r\n\r\n")
            case _:
                _reply(self._altered(data), asked_range, send)

    def _altered(self, data: bytes) -> bytes:
        if self.fault == "longer":
            return data + b"x"
        if self.fault == "parts":
            return b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"
        at = self.chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self.chance.randrange(8))]) + data[at + 1 :]


def _reply(data: bytes, asked_range: str | None, send: Send) -> None:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked_range or "")
    if match is None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        return
    start = int(match[1])
    part = data[start : int(match[2] or len(data)) + 1]
    send(_partial(part, start, len(data)))


def _partial(part: bytes, start: int, total: int) -> bytes:
    given = f"Content-Range: bytes {start}-{start + len(part) - 1}/{total}\r\nContent-Length: {len(part)}\r\n\r\n"
    return b"HTTP/1.1 206 Partial Content\r\n" + given.encode() + part


@contextmanager
def listening(serve: Callable[[str, str | None, Send], None]) -> Iterator[int]:
    """Serve requests on loopback, one a connection; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def one(connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                head += more
            text = head.decode("latin-1")
            path = text.split(" ", 2)[1].partition("?")[0].lstrip("/")
            found = re.search(r"(?i)^range: *(\S+)", text, re.MULTILINE)
            serve(path, found[1] if found else None, connection.sendall)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            while connection.recv(65536):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def lying_placements(folder: Path, lie: str) -> dict[str, bytes]:
    """Return files of a mirror whose placements lie, and a `release.json` that lists them: neither is pinned."""
    release = decode_release((folder / RELEASE).read_bytes())
    packs = sorted(path.stem for path in (folder / "packs").rglob("*.pack"))
    changed: dict[str, bytes] = {}

    def alter(place: Location) -> Location:
        match lie:
            case "shifted":
                return msgspec.structs.replace(place, offset=place.offset + 7)
            case "other pack":
                other = packs[(packs.index(place.pack) + 1) % len(packs)]
                return msgspec.structs.replace(place, pack=other)
            case "unknown pack":
                return msgspec.structs.replace(place, pack="ab" * 32, pack_size=1 << 30)
            case _:
                return msgspec.structs.replace(place, offset=0, length=place.pack_size, codec=0)

    def largest(row: PlacementRow) -> PlacementRow:
        size = canonical.MAX_DOCUMENT_BYTES if lie == "largest" else row.placement_size
        return msgspec.structs.replace(row, placement_at=alter(row.placement_at), placement_size=size)

    def replaced(refs: tuple) -> tuple:  # type: ignore[type-arg]
        found = []
        for ref in refs:
            path = f"releases/sample/{ref.path}"
            shard = canonical.decode((folder / path).read_bytes(), PlacementShard, name=path)
            rows = tuple(largest(row) for row in shard.rows)
            changed[path] = data = canonical.encode(msgspec.structs.replace(shard, rows=rows))
            found.append(msgspec.structs.replace(ref, size=len(data), blake3=blake3(data).hexdigest()))
        return tuple(found)

    placement = replaced(release.placement)
    subsets = tuple(msgspec.structs.replace(one, placement=replaced(one.placement)) for one in release.subsets)
    root = placement_root(placement, subsets, release.volumes)
    lying = msgspec.structs.replace(release, placement=placement, subsets=subsets, placement_root=root)
    changed[RELEASE] = canonical.encode(lying)
    return changed


@dataclass(frozen=True)
class Outcome:
    """What a run did. `wrong` are files that differ from the true ones; `heard` the seconds from SIGINT to the end."""

    file: str
    fault: str
    code: int
    seconds: float
    peak_mib: int
    wrong: tuple[str, ...]
    inside: int
    heard: float | None
    errors: str

    def problems(self, heard_seconds: float = 1.0) -> list[str]:
        """Return what must not be, in words."""
        found = [f"laid out wrong bytes: {', '.join(self.wrong)}"] if self.wrong else []
        found += [f"took {self.peak_mib} MiB"] if self.peak_mib > PEAK_MIB else []
        found += [f"ran {self.seconds:.0f} s"] if self.seconds > DEADLINE_SECONDS else []
        found += ["asked an internal address"] if self.inside else []
        found += ["ended with a traceback"] if "Traceback" in self.errors else []
        # A signal that comes when the run has ended, with its last line printed, ends Python itself.
        has_ended = "error:" in self.errors or "done:" in self.errors
        interrupted = {130, -signal.SIGINT} if has_ended else {130}
        good = GOOD_ENDS if self.heard is None else GOOD_ENDS | interrupted
        found += [f"ended with {self.code}"] if self.code not in good else []
        found += [f"heard SIGINT after {self.heard:.1f} s"] if self.heard and self.heard > heard_seconds else []
        return found


def all_cases() -> list[tuple[str, str, bool]]:
    """Return every `(file, fault, whether it is interrupted)`."""
    plain = [(file, fault, False) for file, fault in product(FILES, FAULTS)]
    return [
        *plain,
        *(("placement", lie, False) for lie in LIES),
        *((file, slow, True) for file, slow in product(FILES, SLOW)),
    ]


def true_files() -> dict[str, str]:
    """Return the SHA-256 of every file of an undisturbed fetch."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        mirror = Mirror(sample_channel(), "", "none", random.Random(0))
        with listening(mirror.answer) as port:
            ended = _start("packs", port, work, 60.0)
            _, errors = ended.communicate(timeout=DEADLINE_SECONDS)
            assert ended.returncode == 0, errors
        return _files(work / "target")


def run_case(file: str, fault: str, truth: Mapping[str, str], *, seed: int = 0, interrupt: bool = False) -> Outcome:
    """Run the program against a mirror with one fault; with `interrupt`, send SIGINT once the file is asked for."""
    asked_inside: list[str] = []

    def inside(path: str, _: str | None, send: Send) -> None:
        asked_inside.append(path)
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    channel = sample_channel()
    changed = lying_placements(channel, fault) if fault in LIES else {}
    pattern = "none" if fault in LIES else FILES[file]
    mirror = Mirror(channel, fault, pattern, random.Random(seed), changed)
    with tempfile.TemporaryDirectory() as name, listening(mirror.answer) as port, listening(inside) as inner:
        mirror.inside = f"http://127.0.0.1:{inner}/latest"
        began = time.monotonic()
        started = _start(file, port, Path(name), 60.0 if interrupt else SHORT_SECONDS)
        signalled = None
        if interrupt and mirror.asked.wait(DEADLINE_SECONDS / 2):
            time.sleep(0.5)
            signalled = time.monotonic()
            started.send_signal(signal.SIGINT)
        status, peak = _wait(started)
        ended = time.monotonic()
        assert started.stderr is not None
        errors = started.stderr.read()
        started.stderr.close()
        found = _files(Path(name) / "target")
        return Outcome(
            file=file,
            fault=fault,
            code=status,
            seconds=ended - began,
            peak_mib=peak,
            wrong=tuple(sorted(path for path, digest in found.items() if truth.get(path) != digest)),
            inside=len(asked_inside),
            heard=None if signalled is None else ended - signalled,
            errors=errors,
        )


def _start(file: str, port: int, work: Path, seconds: float) -> subprocess.Popen[str]:
    verb = ["list"] if file == "tables" else ["fetch", "--subset", "popular", "--to", str(work / "target")]
    where = ["--channel", f"http://127.0.0.1:{port}", "--release", f"b3:{SAMPLE_CONTENT_ROOT}"]
    command = ["-m", "tests.faults.mirror_child", str(port), str(seconds), "--home", str(work / "home"), *verb, *where]
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait(started: subprocess.Popen[str]) -> tuple[int, int]:
    """Return the exit code of a process and its peak memory in MiB; kill it at twice the deadline."""
    until = time.monotonic() + 2 * DEADLINE_SECONDS
    peak = 0
    while True:
        # Not `ru_maxrss`: it begins with the memory of the process that started this one.
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{started.pid}/status").read_text())
            peak = max(peak, int(found[1]) >> 10 if found else 0)
        if started.poll() is not None:
            return started.returncode, peak
        if time.monotonic() > until:
            started.kill()
        time.sleep(0.02)


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
