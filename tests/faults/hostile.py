"""A server whose replies have one fault, and how a run of the real program against it is judged.

Used by the hostile mirror and the hostile hubs, so that both are judged alike.
"""

import gzip
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = ("endless", "drip", "stall", "silent", "headers")
FAULTS = (
    *SLOW,
    *("huge", "short", "closed", "flipped", "longer", "gzip", "bomb of gzip", "html", "wrong range", "error"),
    *("redirect inside", "redirect loop", "changing", "parts"),
)
ALTERED = frozenset({"flipped", "longer", "changing", "parts"})
"""Faults of the bytes alone: the reply that carries them is a proper one."""

SHORT_SECONDS = 1.5
PEAK_MIB = 200
DEADLINE_SECONDS = 120.0
"""Every limit of a read is 1.5 seconds in these runs, and a read is tried a few times; the machine may be loaded."""

ATTEMPTS = 3
OK = b"HTTP/1.1 200 OK\r\n"
MANY_HEADERS = 200_000

Send = Callable[[bytes], None]


@dataclass(frozen=True)
class Request:
    """What was asked for: `target` is the path with its query, the names of `headers` are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path without its first slash and its query."""
        return self.target.partition("?")[0].lstrip("/")

    @property
    def range(self) -> str | None:
        """The range that was asked for."""
        return self.headers.get("range")


Serve = Callable[[Request, Send], None]


@dataclass
class Inside:
    """A server inside the network of this machine, which nothing may ask: `asked` are the paths that were."""

    asked: list[str] = field(default_factory=list)

    def serve(self, request: Request, send: Send) -> None:
        """Note what was asked, and tell a secret."""
        self.asked.append(request.path)
        send(OK + b"Content-Length: 6\r\n\r\nsecret")


def send_faulty(  # noqa: C901, PLR0912  # a branch for each fault
    fault: str, data: bytes, send: Send, chance: random.Random, inside: str, *, kind: str = ""
) -> None:
    """Send a reply that is not the proper one for `data`, of its content type `kind`; may send for ever."""
    head = OK + (f"Content-Type: {kind}\r\n".encode() if kind else b"")
    match fault:
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
        case "flood":
            send(head + b"x: y\r\n" * MANY_HEADERS + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        case "huge":
            send(head + b"Content-Length: 1000000000000\r\n\r\n")
            while True:
                send(bytes(65536))
        case "short":
            send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data[: chance.randrange(max(1, len(data)))])
        case "closed":
            pass
        case "html":
            send_page(send)
        case "gzip" | "bomb of gzip":
            packed = gzip.compress(data if fault == "gzip" else bytes(1 << 28), 1)
            send(head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
        case "wrong range":
            start = chance.randrange(max(1, len(data)))
            send_part(data[start:], start, len(data), send)
        case "error":
            send(b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n")
        case "a year":
            send(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n")
        case "redirect inside":
            send(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inside.encode())
        case "redirect loop":
            send(b"HTTP/1.1 302 Found\r\nLocation: ?x\r\nContent-Length: 0\r\n\r\n")
        case _:
            raise AssertionError(f"no fault {fault!r}")


def alter(fault: str, data: bytes, chance: random.Random) -> bytes:
    """Return other bytes in the place of `data`."""
    if fault == "longer":
        return data + b"x"
    if fault == "parts":
        return b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"
    if not data:
        return b"x"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def send_page(send: Send) -> None:
    """Send a page of HTML that asks for a login, with 200."""
    text = b"<html>log in</html>" * 100
    send(OK + b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def send_part(part: bytes, start: int, total: int, send: Send) -> None:
    """Send 206 with a part of a file."""
    given = f"Content-Range: bytes {start}-{start + len(part) - 1}/{total}\r\nContent-Length: {len(part)}\r\n\r\n"
    send(b"HTTP/1.1 206 Partial Content\r\n" + given.encode() + part)


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """Serve requests on loopback, one a connection; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def one(connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            serve(_receive(connection), partial(_send_closing, connection))
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


def _send_closing(connection: socket.socket, data: bytes) -> None:
    """Send `data`; the head of a reply says that the connection is closed after it, so that no client uses it again."""
    if data.startswith(b"HTTP/1.1 "):
        status, _, rest = data.partition(b"\r\n")
        data = status + b"\r\nConnection: close\r\n" + rest
    connection.sendall(data)


def _receive(connection: socket.socket) -> Request:
    with connection.makefile("rb") as stream:
        method, target, _ = stream.readline().decode("latin-1").split(" ", 2)
        headers = {}
        while line := stream.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return Request(method, target, headers, stream.read(int(headers.get("content-length", "0"))))
        parts = []
        while size := int(stream.readline(), 16):
            parts.append(stream.read(size))
            stream.readline()
        stream.readline()
        return Request(method, target, headers, b"".join(parts))


@dataclass(frozen=True)
class Outcome:
    """What a run did. `wrong` are files that differ from the true ones; `heard` the seconds from SIGINT to the end."""

    case: str
    code: int
    seconds: float
    peak_mib: int
    wrong: tuple[str, ...]
    inside: int
    heard: float | None
    errors: str
    good_ends: frozenset[int]

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
        good = self.good_ends if self.heard is None else self.good_ends | interrupted
        found += [f"ended with {self.code}"] if self.code not in good else []
        found += [f"heard SIGINT after {self.heard:.1f} s"] if self.heard and self.heard > heard_seconds else []
        return found

    def is_late(self, heard_seconds: float) -> bool:
        """Return whether nothing is wrong but the time, which may be that of a loaded machine."""
        found = self.problems(heard_seconds)
        return bool(found) and all(one.startswith(("ran ", "heard ")) for one in found)

    def __str__(self) -> str:
        heard = "" if self.heard is None else f", heard after {self.heard:.1f} s"
        return f"{self.case}: {self.code}, {self.seconds:.1f} s, {self.peak_mib} MiB{heard}"


def run_calmly(run: Callable[[], Outcome], heard_seconds: float) -> Outcome:
    """Return the outcome of `run`, which is repeated twice as long as nothing is wrong but the time."""
    for _ in range(ATTEMPTS - 1):
        outcome = run()
        if not outcome.is_late(heard_seconds):
            return outcome
    return run()


@dataclass(frozen=True)
class Ended:
    """How a process ended: `heard` are the seconds from SIGINT to the end, if one was sent."""

    code: int
    seconds: float
    peak_mib: int
    heard: float | None
    errors: str


def start(module: str, arguments: Iterable[object], extra: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a module of the tests as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(extra or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def watch(started: subprocess.Popen[str], asked: threading.Event | None = None) -> Ended:
    """Wait for the end of a process. Send SIGINT half a second after `asked` was set; kill it at twice the deadline."""
    began = time.monotonic()
    peak, due, signalled = 0, None, None
    errors: list[str] = []
    assert started.stderr is not None
    reader = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(started.stderr,))
    reader.start()
    while started.poll() is None:
        peak = max(peak, _memory_mib(started.pid))
        now = time.monotonic()
        if due is None and asked is not None and asked.is_set():
            due = now + 0.5
        if due is not None and signalled is None and now >= due:
            signalled = now
            started.send_signal(signal.SIGINT)
        if now > began + 2 * DEADLINE_SECONDS:
            started.kill()
        time.sleep(0.02)
    ended = time.monotonic()
    reader.join()
    started.stderr.close()
    heard = None if signalled is None else ended - signalled
    return Ended(started.returncode, ended - began, peak, heard, "".join(errors))


def _memory_mib(root: int) -> int:
    """Return the memory of a process and of all that it started, in MiB; of the process itself the highest so far."""
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        # Not `ru_maxrss`: it begins with the memory of the process that started this one.
        with suppress(OSError):
            text = Path(f"/proc/{process}/status").read_text()
            found = re.search(rf"{'VmHWM' if process == root else 'VmRSS'}:\s+(\d+)", text)
            total += int(found[1]) if found else 0
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total >> 10


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def show_table(first: str, rows: Mapping[str, Sequence[Outcome]], heard_seconds: float) -> str:
    """Return a table of Markdown with a row for each group of runs."""
    lines = [f"| {first} | runs | exit codes | most seconds | SIGINT heard after | most MiB | bad |"]
    lines.append("|---|---:|---|---:|---:|---:|---:|")
    for fault, outcomes in rows.items():
        codes = ", ".join(str(code) for code in sorted({outcome.code for outcome in outcomes}))
        most = max(outcome.seconds for outcome in outcomes)
        heard = max((outcome.heard for outcome in outcomes if outcome.heard is not None), default=None)
        peak = max(outcome.peak_mib for outcome in outcomes)
        failed = sum(bool(outcome.problems(heard_seconds)) for outcome in outcomes)
        shown = "-" if heard is None else f"{heard:.1f}"
        lines.append(f"| {fault} | {len(outcomes)} | {codes} | {most:.1f} | {shown} | {peak} | {failed} |")
    return "\n".join(lines)
