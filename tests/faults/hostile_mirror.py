"""A mirror that serves one file of the sample channel with one fault, and the real program that reads from it."""

import random
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.model import canonical
from ptmtorrent.model.placement import Location
from ptmtorrent.model.release import PlacementRow, PlacementShard, decode_release, placement_root
from ptmtorrent.paths import sample_channel
from ptmtorrent.trust.fingerprints import fingerprint
from ptmtorrent.trust.pins import Pins
from ptmtorrent.trust.sample import SAMPLE_CONTENT_ROOT
from tests.faults.hostile import (
    ALTERED,
    FAULTS,
    OK,
    SHORT_SECONDS,
    SLOW,
    Inside,
    Outcome,
    Request,
    Send,
    alter,
    digests,
    listening,
    send_faulty,
    send_part,
    start,
    watch,
)

RELEASE = "releases/sample/release.json"
SUBSET = ("fetch", "--subset", "popular")
MEMBERS = ("fetch", "hf:Case-Lab/case-study", "hf:acoustics/speech-tiny")
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "timestamp": (r"metadata/timestamp\.json", SUBSET),
    "snapshot": (r"metadata/\d+\.snapshot\.json", SUBSET),
    "targets": (r"metadata/\d+\.targets\.json", SUBSET),
    "next root": (r"metadata/[2-9]\.root\.json", ("subsets",)),
    "fresh timestamp": (r"metadata/timestamp\.json", ("subsets",)),
    "release": (r"releases/sample/release\.json", SUBSET),
    "content": (r".*subsets/.*content.*\.json", SUBSET),
    "placement": (r".*subsets/.*placement.*\.json", SUBSET),
    "index content": (r".*index/content.*\.json", MEMBERS),
    "index placement": (r".*index/placement.*\.json", MEMBERS),
    "tables": (r".*\.parquet", ("list",)),
    "torrents": (r"torrents/.*", (*SUBSET, "--transport", "torrent")),
    "packs": (r"packs/.*", SUBSET),
    "later packs": (r"packs/.*", SUBSET),
}
"""The files of a channel that are served with a fault, and the verb that reads them.

Of `later packs` the first request is answered properly. A next root and a fresh timestamp are read where the channel is
trusted and no release is named.
"""

FRESH = {"next root", "fresh timestamp"}
FIRST_ROOT = "metadata/1.root.json"

LIES = ("shifted", "other pack", "unknown pack", "largest")
MIRROR_FAULTS = (*FAULTS, "flood", "a year")
GOOD_ENDS = frozenset({0, 3, 12, 20, 23, 30, 40, 41, 50, 60})


@dataclass
class Mirror:
    """Serves `folder` with `changed` files in the place of its own; `pattern` says which are served with `fault`."""

    folder: Path
    fault: str
    pattern: str
    chance: random.Random
    changed: Mapping[str, bytes] = field(default_factory=dict)
    inside: str = ""
    spared: int = 0
    asked: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: Request, send: Send) -> None:
        """Send the reply for a path."""
        path = request.path
        data = self.changed.get(path)
        if data is None:
            place = self.folder / path
            data = place.read_bytes() if place.is_file() else None
        if data is None and path.startswith("packs/"):
            data = bytes(1 << 20)
        if data is None and path.endswith(".root.json") and re.fullmatch(self.pattern, path):
            data = (self.folder / FIRST_ROOT).read_bytes()
        if data is None:
            send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif not re.fullmatch(self.pattern, path) or self._is_spared():
            _reply(data, request.range, send)
        else:
            self.asked.set()
            if self.fault in ALTERED:
                _reply(alter(self.fault, data, self.chance), request.range, send)
            else:
                send_faulty(self.fault, data, send, self.chance, self.inside)

    def _is_spared(self) -> bool:
        self.spared -= 1
        return self.spared >= 0


def _reply(data: bytes, asked_range: str | None, send: Send) -> None:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked_range or "")
    if match is None:
        send(OK + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        return
    start = int(match[1])
    send_part(data[start : int(match[2] or len(data)) + 1], start, len(data), send)


def lying_placements(folder: Path, lie: str) -> dict[str, bytes]:
    """Return files of a mirror whose placements lie, and a `release.json` that lists them: neither is pinned."""
    release = decode_release((folder / RELEASE).read_bytes())
    packs = sorted(path.stem for path in (folder / "packs").rglob("*.pack"))
    changed: dict[str, bytes] = {}

    def moved(place: Location) -> Location:
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
        return msgspec.structs.replace(row, placement_at=moved(row.placement_at), placement_size=size)

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


def all_cases() -> list[tuple[str, str, bool]]:
    """Return every `(file, fault, whether it is interrupted)`."""
    plain = [(file, fault, False) for file, fault in product(FILES, MIRROR_FAULTS)]
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
            ended = watch(_start("packs", port, work, 60.0))
        assert ended.code == 0, ended.errors
        return digests(work / "target")


def run_case(file: str, fault: str, truth: Mapping[str, str], *, seed: int = 0, interrupt: bool = False) -> Outcome:
    """Run the program against a mirror with one fault; with `interrupt`, send SIGINT once the file is asked for."""
    inner = Inside()
    channel = sample_channel()
    changed = lying_placements(channel, fault) if fault in LIES else {}
    pattern = "none" if fault in LIES else FILES[file][0]
    mirror = Mirror(channel, fault, pattern, random.Random(seed), changed, spared=int(file == "later packs"))
    with tempfile.TemporaryDirectory() as name, listening(mirror.answer) as port, listening(inner.serve) as within:
        mirror.inside = f"http://127.0.0.1:{within}/latest"
        started = _start(file, port, Path(name), 60.0 if interrupt else SHORT_SECONDS)
        ended = watch(started, mirror.asked if interrupt else None)
        found = digests(Path(name) / "target")
        return Outcome(
            case=f"{file}, {fault}",
            code=ended.code,
            seconds=ended.seconds,
            peak_mib=ended.peak_mib,
            wrong=tuple(sorted(path for path, digest in found.items() if truth.get(path) != digest)),
            inside=len(inner.asked),
            heard=ended.heard,
            errors=ended.errors,
            good_ends=GOOD_ENDS,
        )


def _start(file: str, port: int, work: Path, seconds: float) -> subprocess.Popen[str]:
    place, home, verb = f"http://127.0.0.1:{port}", work / "home", FILES[file][1]
    where = ["--channel", place, *(["--to", work / "target"] if verb[0] == "fetch" else [])]
    if file in FRESH:
        root = (sample_channel() / FIRST_ROOT).read_bytes()
        Pins(home / "trust").add(place, fingerprint(root), root)
    else:
        where += ["--release", f"b3:{SAMPLE_CONTENT_ROOT}"]
    return start("tests.faults.mirror_child", [port, seconds, "--home", home, *verb, *where])
