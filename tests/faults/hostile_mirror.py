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

from ptmtorrent.catalogue.documents import encode_documents
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.model.members import Frame, MemberRow, RunShards, decode_shard, decode_tree, encode_shard, encode_tree
from ptmtorrent.model.placement import Form, Location, decode_placement, encode_placement
from ptmtorrent.model.release import FileRef, decode_release, placement_root
from ptmtorrent.paths import sample_channel
from ptmtorrent.store.codecs.frames import expand
from ptmtorrent.trust.sample import SAMPLE_CONTENT_ROOT

ROOT = Path(__file__).parents[2]
RELEASE = "releases/sample/release.json"
FILES: dict[str, str] = {
    "timestamp": r"metadata/timestamp\.json",
    "snapshot": r"metadata/\d+\.snapshot\.json",
    "targets": r"metadata/\d+\.targets\.json",
    "release": r"releases/sample/release\.json",
    "tree": r".*index/tree\.bin",
    "rows": r".*index/rows\.bin",
    "documents": r".*index/documents\.bin",
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
    [run] = release.runs
    packs = sorted((PackId(path.stem), path.stat().st_size) for path in (folder / "packs").rglob("*.pack"))
    old = decode_tree((folder / release.tree.path).read_bytes(), "tree")
    [shards] = old.runs
    index, documents = (folder / run.index.path).read_bytes(), (folder / run.documents[0].path).read_bytes()
    frames, encoded = bytearray(), []
    for start, size in zip(shards.offsets, shards.lengths, strict=True):
        rows = decode_shard(index[start : start + size], "shard")
        encoded.append(encode_shard([_lying_row(row, documents, frames, packs, lie) for row in rows]))
    changed = {run.documents[0].path: bytes(frames), run.index.path: b"".join(encoded)}
    hashes = tuple(blake3(shard).hexdigest() for shard in encoded)
    lengths = tuple(map(len, encoded))
    listed = RunShards(bits=shards.bits, offsets=(), lengths=lengths, hashes=hashes)
    changed[release.tree.path] = encode_tree(old.buckets, [listed])

    def refer(ref: FileRef) -> FileRef:
        data = changed[ref.path]
        size = 1 << 30 if lie == "largest" and ref in run.documents else len(data)
        return msgspec.structs.replace(ref, size=size, blake3=blake3(data).hexdigest())

    lying_run = msgspec.structs.replace(run, index=refer(run.index), documents=(refer(run.documents[0]),))
    tree = refer(release.tree)
    root = placement_root((lying_run,), tree, release.tables, release.volumes)
    lying = msgspec.structs.replace(release, runs=(lying_run,), tree=tree, placement_root=root)
    changed[RELEASE] = canonical.encode(lying)
    return changed


def _lying_row(
    row: MemberRow, documents: bytes, frames: bytearray, packs: list[tuple[PackId, int]], lie: str
) -> MemberRow:
    """Add a frame with a placement that lies to `frames`; return the row that leads to it."""
    assert row.frame
    stored = memoryview(documents)[row.frame.offset : row.frame.offset + row.frame.length]
    data = expand(stored, row.manifest_size + row.placement_size)
    manifest = decode_manifest(data[: row.manifest_size], row.snapshot)
    placement = decode_placement(data[row.manifest_size :], manifest, row.snapshot)
    forms = [
        tuple(Form(at=_lying_place(form.at, size, packs, lie)) for form in placement.forms_of(number) if not form.base)
        for number, (_, size) in enumerate(manifest.objects)
    ]
    lying = encode_placement(row.snapshot, [each or placement.forms_of(at) for at, each in enumerate(forms)])
    frame = encode_documents(data[: row.manifest_size], lying)
    place = Frame(file=0, offset=len(frames), length=len(frame), blake3=blake3(frame).hexdigest())
    frames += frame
    size = len(lying)
    if lie == "largest":
        place = msgspec.structs.replace(place, length=canonical.MAX_DOCUMENT_BYTES)
        size = canonical.MAX_DOCUMENT_BYTES
    return msgspec.structs.replace(row, frame=place, placement_size=size)


def _lying_place(place: Location, raw: int, packs: list[tuple[PackId, int]], lie: str) -> Location:
    match lie:
        case "shifted":
            return msgspec.structs.replace(place, offset=min(place.offset + 7, place.pack_size - place.length))
        case "other pack":
            pack, size = packs[(packs.index((place.pack, place.pack_size)) + 1) % len(packs)]
            return msgspec.structs.replace(place, pack=pack, pack_size=size)
        case "unknown pack":
            return msgspec.structs.replace(place, pack=PackId("ab" * 32), pack_size=1 << 30)
        case _:
            return msgspec.structs.replace(place, offset=0, length=raw, codec=0)


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
        *(("documents", lie, False) for lie in LIES),
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
