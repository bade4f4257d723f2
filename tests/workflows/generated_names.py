"""Names of every odd kind, generated, for what a folder, a git remote and the Hugging Face hub can hold."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest import mock

from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import IntegrityError
from ptmtorrent.layouts.folders import Names
from ptmtorrent.model.ids import check_paths
from ptmtorrent.workflows.fetch import fetch
from tests.in_process import ptmtorrent
from tests.simulators.git_server import serve_git

MAX_BYTES = 255
CONTENTS = 1000
"""Different contents: with so many, a file that got the bytes of another is very probably seen."""

ODD = (
    *(
        ".:",
        "C:",
        "c:x",
        "a\\b",
        "..\\x",
        "\\\\server\\share",
        "\\",
        "Icon\r",
        "a\r\nb",
        "\n",
        "\r",
        "\t",
        "\x01",
        "\x7f",
    ),
    *(
        " ",
        " a",
        "a ",
        "a.",
        "...",
        "....",
        ".a.",
        "-",
        "-rf",
        "--",
        "~",
        "~root",
        "$HOME",
        "`x`",
        "%2F",
        "%2e%2e",
        "%00",
    ),
    *("a?b", "a#b", "a&b", "a+b", "a=b", "*", "?", "[a]", "{a}", "<a>", "|", '"', "'", ";", "!", "@", "a@b", "^", ","),
    *("aux", "NUL", "con.txt", "COM1", "lpt9.json", "desktop.ini", ".DS_Store", "Thumbs.db", "README.md:stream"),
    *(
        ".gitignore",
        ".gitattributes",
        ".git.",
        "git",
        ".gitx",
        "a.git",
        ".hg",
        ".ptmtorrent-incoming",
        "ptmtorrent.lock",
    ),
    *(
        "é",
        "e\u0301",
        "ﬁ",
        "ß",
        "SS",
        "İ",
        "\u0131",
        "K",
        "\u200b",
        "\u202egnp",
        "\ufeff",
        "\u2028",
        "\ufffd",
        "\uffff",
        "😀",
        "日本語",
    ),
    *("blobs", "refs", "snapshots", "trees", ".locks", "manifest.json", "release.json", "model.safetensors", "LICENSE"),
)
_UNICODE = "aB0_.-~ \\:\r\n\t\"'`$%?*#<>|&;éÅß\u0130日\u0301\u200d\u202e\u2028\ufeff\ufffd😀"


class Generator:
    """Files of packages with generated names. `text` restricts them to names that are valid Unicode."""

    def __init__(self, seed: int, *, text: bool = False) -> None:
        self._random = random.Random(seed)
        self._text = text

    def package(self, number: int) -> dict[bytes, bytes]:
        """Return `number` files: contents by path, none of which is a folder of another."""
        files: dict[bytes, bytes] = {}
        folders: set[bytes] = set()
        while len(files) < number:
            path = self._path()
            above = set(_folders(path))
            if path in folders or path in files or above & files.keys() or not _is_accepted(path):
                continue
            folders |= above
            files[path] = content_of(path)
        return files

    def _path(self) -> bytes:
        depth = self._random.choice((1, 1, 1, 2, 2, 3, 5))
        return b"/".join(self._name() for _ in range(depth))

    def _name(self) -> bytes:
        draw = self._random
        kind = draw.randrange(6)
        if kind == 0:
            return draw.choice(ODD).encode()
        if kind == 1:
            return (draw.choice(ODD) + draw.choice(ODD)).encode()[:MAX_BYTES].decode(errors="ignore").encode()
        if kind == 2 and not self._text:
            return bytes(draw.choices(_BYTES, k=draw.choice((1, 2, 3, 8, 40, MAX_BYTES))))
        if kind == 3:
            ending = draw.choice(("", ".json", ".bin", ".safetensors"))
            return f"{draw.choice(ODD)}{draw.randrange(10**6)}{ending}".encode()
        if kind == 4:
            return "".join(draw.choices(_UNICODE, k=draw.randrange(1, 64))).encode()
        return f"file-{draw.randrange(10**7)}.txt".encode()


_BYTES = [byte for byte in range(1, 256) if byte != ord("/")]


def content_of(path: bytes) -> bytes:
    """Return the bytes of the file at `path`."""
    return b"%d\n" % (int.from_bytes(blake2b(path, digest_size=4).digest()) % CONTENTS)


def files_in(folder: bytes) -> dict[bytes, bytes]:
    """Return the bytes of all files below `folder`, by path."""
    found: dict[bytes, bytes] = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = here + b"/" + name
            found[path[len(folder) + 1 :]] = Path(os.fsdecode(path)).read_bytes()
    return found


def _folders(path: bytes) -> Iterator[bytes]:
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _is_accepted(path: bytes) -> bool:
    try:
        check_paths([path.decode(errors="surrogateescape")])
    except IntegrityError:
        return False
    return True


@dataclass
class World:
    """Packages with generated names below `root`, captured from each kind of hub, released and fetched.

    `expected` has the files of each package by the folder that the plain layout gives it.
    """

    root: Path
    seed: int
    packages: int
    names: int
    expected: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home of the program."""
        return self.root / "home"

    def capture(self) -> None:
        """Capture packages of a folder, of git remotes and of a Hugging Face hub, all of which end well."""
        with self._timed("capture dir"):
            self._capture_folder()
        with self._timed("capture git"):
            self._capture_git()
        with self._timed("capture huggingface"):
            self._capture_hub()

    def release(self) -> None:
        """Release all packages."""
        with self._timed("release"):
            ptmtorrent(self.home, "keys", "init", "--no-passphrase")
            ptmtorrent(self.home, "release", "1", "--include", "unknown")

    def fetch(self, to: Path, *more: str, code: int = 0, step: str = "fetch") -> list[dict[str, Any]]:
        """Fetch into the folder `to`; return the records of the packages."""
        with self._timed(step):
            events = ptmtorrent(
                self.home,
                "fetch",
                *(more or ("--subset", "all")),
                "--channel",
                self.home / "channel",
                "--to",
                to,
                code=code,
            )
        return [event for event in events if event["type"] == "result"]

    def wrong(self, to: Path, refused: Callable[[str], str | None] = lambda _: None) -> list[str]:
        """Return what lies in `to` otherwise than upstream, apart from files that are `refused` and not there."""
        found: list[str] = []
        for package, files in self.expected.items():
            there = files_in(os.fsencode(to / package))
            wanted = {path: data for path, data in files.items() if refused(os.fsdecode(path)) is None}
            paths = sorted(path for path in {*there, *wanted} if there.get(path) != wanted.get(path))
            found += [f"{package}: {path!r}" for path in paths]
        return found

    def _capture_folder(self) -> None:
        generator = Generator(self.seed)
        for number in range(self.packages):
            files = generator.package(self.names)
            self.expected[f"dir/p{number}"] = files
            for path, data in files.items():
                place = Path(os.fsdecode(os.fsencode(self.root / "folder" / f"p{number}") + b"/" + path))
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        ptmtorrent(self.home, "clone", "dir", "--endpoint", self.root / "folder")

    def _capture_git(self) -> None:
        generator = Generator(self.seed + 1)
        (self.root / "git").mkdir()
        with serve_git(self.root / "git") as server:
            ids = []
            for number in range(self.packages):
                files = generator.package(self.names)
                server.commit(f"team/p{number}", {os.fsdecode(path): data for path, data in files.items()})
                self.expected[f"git/{server.url.removeprefix('http://').replace(':', '+')}/team/p{number}"] = files
                ids += ["--id", f"team/p{number}"]
            ptmtorrent(self.home, "clone", "git", "--endpoint", server.url, *ids)

    def _capture_hub(self) -> None:
        generator, packages = Generator(self.seed + 2, text=True), []
        for number in range(self.packages):
            files = generator.package(self.names)
            self.expected[f"hf/team/p{number}"] = files
            served = tuple(data_file(path.decode(), data) for path, data in files.items())
            packages.append(Package(name=f"team/p{number}", files=served, downloads=100, licence="mit"))
        with SampleHub(packages) as hub:
            ptmtorrent(self.home, "clone", "huggingface", "--endpoint", hub.endpoint)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began


def check(world: World) -> list[str]:
    """Capture, release and fetch; return what is not as it should be."""
    world.capture()
    world.release()
    out, cache, windows = (world.root / name for name in ("out", "cache", "windows"))
    wrong = [f"{record['id']}: {record['status']}" for record in world.fetch(out) if record["status"] != "ok"]
    wrong += world.wrong(out)
    again = world.fetch(out, step="fetch again")
    wrong += [f"{record['id']}: {record['status']} again" for record in again if record["status"] != "notneeded"]
    packages = [package.replace("hf/", "hf:") for package in world.expected if package.startswith("hf/")]
    for record in world.fetch(cache, *packages, "--into", "hf-cache", step="fetch to hf-cache"):
        there = files_in(os.fsencode(record["path"]))
        if there != world.expected[record["id"].replace(":", "/")]:
            wrong.append(f"{record['id']}: the Hugging Face cache has other files")
    refusing = Names(None, windows=True)
    with mock.patch.object(fetch, "Names", partial(Names, windows=True)):
        records = world.fetch(windows, code=3, step="fetch where Windows is")
    wrong += [f"windows: {each}" for each in world.wrong(windows, refusing.refusal)]
    return wrong + [f"{each['id']}: {each['status']} on Windows" for each in records if _is_unnamed(each)]


def _is_unnamed(record: dict[str, Any]) -> bool:
    return record["status"] != "impossible" or "cannot be written here: `" not in record["reason"]
