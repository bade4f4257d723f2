"""A mirror that serves one file of the sample channel with one fault, and the real program that reads from it."""

import random
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.index import encode_documents
from ptmtorrent.layouts.folders import INCOMING
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import decode_manifest
from ptmtorrent.model.members import Frame, MemberRow, RunShards, decode_shard, decode_tree, encode_shard, encode_tree
from ptmtorrent.model.placement import Form, Location, decode_placement, encode_placement
from ptmtorrent.model.release import FileRef, decode_release, placement_root
from ptmtorrent.paths import sample_channel
from ptmtorrent.store.codecs.streams import expand
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
MEMBERS = ("fetch", "hf:Case-Lab/case-study", "hf:quill-lab/quill-base")
"""Two packages of the subset, whose files are those of an undisturbed fetch."""
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "timestamp": (r"metadata/timestamp\.json", SUBSET),
    "snapshot": (r"metadata/\d+\.snapshot\.json", SUBSET),
    "targets": (r"metadata/\d+\.targets\.json", SUBSET),
    "next root": (r"metadata/[2-9]\.root\.json", ("subsets",)),
    "fresh timestamp": (r"metadata/timestamp\.json", ("subsets",)),
    "release": (r"releases/sample/release\.json", SUBSET),
    "tree": (r".*index/tree\.bin", SUBSET),
    "rows": (r".*index/rows\.bin", SUBSET),
    "documents": (r".*index/documents\.bin", SUBSET),
    "names": (r".*subsets/.*\.txt", SUBSET),
    "rows of members": (r".*index/rows\.bin", MEMBERS),
    "documents of members": (r".*index/documents\.bin", MEMBERS),
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
    [run] = release.runs
    packs = sorted((PackId(path.stem), path.stat().st_size) for path in (folder / "packs").rglob("*.pack"))
    old = decode_tree((folder / release.tree.path).read_bytes(), "tree")
    [shards] = old.runs
    index, documents = (folder / run.index.path).read_bytes(), (folder / run.documents[0].path).read_bytes()
    frames, encoded = bytearray(), []
    for first, size in zip(accumulate(shards.lengths, initial=0), shards.lengths, strict=False):
        rows = decode_shard(index[first : first + size], "shard")
        encoded.append(encode_shard([_lying_row(row, documents, frames, packs, lie) for row in rows]))
    changed = {run.documents[0].path: bytes(frames), run.index.path: b"".join(encoded)}
    hashes = tuple(blake3(shard).hexdigest() for shard in encoded)
    lengths = tuple(map(len, encoded))
    listed = RunShards(lengths=lengths, hashes=hashes)
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


def all_cases() -> list[tuple[str, str, bool]]:
    """Return every `(file, fault, whether it is interrupted)`."""
    plain = [(file, fault, False) for file, fault in product(FILES, MIRROR_FAULTS)]
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
        # What a run that failed leaves unfinished is checked by the next one.
        found = {path: digest for path, digest in found.items() if not path.startswith(f"{INCOMING}/")}
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
