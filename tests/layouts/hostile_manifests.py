"""Manifests whose names, paths and links try to leave the folder that they are laid out in, and what they reach.

Each is decoded as a client decodes what a channel serves. One that is accepted is laid out by both layouts as `fetch`
does it: real folders, no link followed, a new file. Around the folder lie files that nothing may change.
"""

import json
import os
import random
import shutil
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from blake3 import blake3

from ptmtorrent.errors import PtmError
from ptmtorrent.layouts.folders import PlainDir, ensure_real_dir, refuse_links
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.port import Destination, Layout
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import Manifest, decode_manifest, encode_manifest
from tests.model.generated import manifest_of

PARTS = (
    *(
        "..",
        ".",
        "",
        "a",
        "b",
        "A",
        "x.bin",
        "trap",
        "secret",
        "~",
        "-rf",
        "con",
        "nul.txt",
        ".git",
        ".GIT",
        "C:",
        "c:x",
    ),
    *("\\", "a\\b", "..\\..", "\0", "\n", "\x7f", "é", "e\u0301", "\u202e", "%2e%2e", "..%2f", "a" * 255, "a" * 256),
    *("refs", "blobs", "snapshots", "models--a--b", ".locks", "..;", "...", " ", "a.", "x:y", "\uff0e\uff0e", "/"),
)
BASE64 = ("Li4=", "Li4vLi4=", "/w==", "L2V0Yw==", "YQ==", "AA==", "Lw==", "!", "")
NAMES = ("trap/b", "a/trap", "a/..", "../..", "trap", "b", "..", "a/b/c")
MODES = (0o100644, 0o100755, 0o120000, 0o040000, 0o160000, 0o104755, 0)


class Sandbox:
    """A folder to lay out in, which has links out of it, beside files that nothing may touch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "target"
        self.outside = folder / "outside"
        (self.outside / "deep").mkdir(parents=True)
        for name in ("secret", "a", "deep/x.bin"):
            (self.outside / name).write_text(name)
        self.before = self.state()
        self.reset()

    def reset(self) -> None:
        """Empty the folder, and put the links into it."""
        shutil.rmtree(self.root, ignore_errors=True)
        for place in (
            self.root / "hf" / "trap",
            self.root / "hub" / "models--trap--b",
            self.root / "hf" / "a" / "trap",
        ):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(self.outside)

    def state(self) -> dict[str, object]:
        """Return what lies around the folder, and its content."""
        found: dict[str, object] = {}
        for parent, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if Path(parent, name) != self.root]
            for name in (*folders, *names):
                path = Path(parent, name)
                known = path.lstat()
                data = path.read_bytes() if path.is_file() else b""
                found[str(path)] = (known.st_mode, known.st_mtime_ns if data else 0, sha256(data).hexdigest())
        return found


def hostile_manifest(source: random.Random) -> bytes:
    """Return the bytes of a manifest, canonical as a rule, in which names, paths, modes and links are hostile."""
    contents = [(f"f{number}", b"x" * (number + 1)) for number in range(source.randint(1, 3))]
    found: dict[str, Any] = json.loads(encode_manifest(manifest_of("hf:a/b", contents))[0])
    if source.random() < 0.4:
        found["package"][source.choice(("hub", "name", "commit"))] = _path(source)
    elif source.random() < 0.3:
        found["package"]["name"] = source.choice(NAMES)
    for row, file in enumerate(found["files"]):
        _spoil(file, found["objects"], row, source)
    found["files"].sort(key=lambda file: str(file.get("path", "")).encode(errors="surrogatepass"))
    try:
        return canonical.encode(found)
    except (PtmError, UnicodeEncodeError):
        return json.dumps(found).encode()


def _spoil(file: dict[str, Any], objects: list[Any], row: int, source: random.Random) -> None:
    file["path"] = _path(source)
    chance = source.random()
    if chance < 0.1:
        del file["path"]
        file["path_b64"] = source.choice(BASE64)
    elif chance < 0.35:
        text = _path(source)
        data = text.encode()
        file |= {"mode": 0o120000, "link": text, "size": len(data), "sha256": sha256(data).hexdigest()}
        file["blake3"] = blake3(data).hexdigest()
        objects[row] = [file["blake3"], len(data)]
    elif chance < 0.45:
        file["mode"] = source.choice(MODES)


def _path(source: random.Random) -> str:
    joint = "/" if source.random() < 0.8 else ""
    start = source.choice(("", "", "", "/", "//", "../"))
    return start + joint.join(source.choice(PARTS) for _ in range(source.randint(1, 4)))


def lay_out(manifest: Manifest, layout: Layout, root: Path) -> list[str]:
    """Write the files of `manifest` as `fetch` does; return what is wrong with where they are."""
    wrong = []
    for file in manifest.files:
        try:
            to = layout.destination(manifest, file)
        except PtmError:
            continue
        places = [str(place) for place in (to.target, to.link) if place is not None]
        outside = [place for place in places if not os.path.normpath(place).startswith(f"{root}/")]
        wrong += [f"{file.name!r} of {manifest.package.package} goes to {place}" for place in outside]
        written = False
        with suppress(PtmError, OSError):
            _write(to, layout)
            written = True
        reached = os.path.realpath(to.target)
        if written and not reached.startswith(f"{os.path.realpath(root)}/"):
            wrong.append(f"{file.name!r} of {manifest.package.package} leads to {reached}")
    return wrong


def _write(to: Destination, layout: Layout) -> None:
    ensure_real_dir(layout.root, to.target.parent, set())
    refuse_links(layout.root, to.target.parent)
    if to.link_text is not None:
        to.target.symlink_to(to.link_text)
        return
    os.close(os.open(to.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, to.mode))


def check(folder: Path, number: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Lay out `number` hostile manifests; return how many were accepted and refused, and what is wrong."""
    sandbox, source = Sandbox(folder), random.Random(seed)
    counted, wrong = Counter[str](), list[str]()
    for at in range(number):
        data = hostile_manifest(source)
        try:
            manifest = decode_manifest(data, SnapshotId(blake3(data).hexdigest()))
        except PtmError:
            counted["refused"] += 1
            continue
        counted["accepted"] += 1
        for layout in (PlainDir(sandbox.root), HfCache(sandbox.root / "hub")):
            wrong += lay_out(manifest, layout, layout.root)
        if at % 200 == 0:
            wrong += _changed(sandbox)
            sandbox.reset()
    return counted, wrong + _changed(sandbox)


def _changed(sandbox: Sandbox) -> list[str]:
    now = sandbox.state()
    return [f"{path} was changed" for path in {*now, *sandbox.before} if now.get(path) != sandbox.before.get(path)]
