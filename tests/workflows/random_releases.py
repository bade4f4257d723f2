"""Random releases of a channel, for walks of a target (`tests.workflows.updates`)."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.model.ids import ObjectId, ReleaseName
from ptmtorrent.model.manifest import (
    EXECUTABLE_MODE,
    LINK_MODE,
    REGULAR_MODE,
    FileEntry,
)
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store
from ptmtorrent.trust.keys import init_keys, load_keys
from ptmtorrent.workflows.release.release import release
from tests.channels import clock, git_id, put_capture

PACKAGES = ("hf:org/one", "hf:two")
PATHS = (
    *("README.md", "readme.md", "Readme.md", "config.json", "model.bin", "run.sh", "empty"),
    *("a", "a/b", "a/b/c", "a/d", "a/link", "deep/er/x.json", "deep/er", "deep", "deep/Y.json", "deep/y.json"),
    *("link", "tokens/vocab.txt", "tokens", "n\u00e4me/\u540d.txt", "A/b"),
)
RELEASE_BYTES = (b"", *(f"bytes {number} of a release\n".encode() * (number * 40 + 1) for number in range(7)))


@dataclass(frozen=True)
class Thing:
    """What lies at a path: a file or a link, and whether it is executable."""

    data: bytes
    is_link: bool = False
    is_executable: bool = False

    def __repr__(self) -> str:
        kind = "link" if self.is_link else "program" if self.is_executable else "file"
        return f"<{kind} {self.data[:24]!r}, {len(self.data)}>"

    def same(self, other: "Thing | None") -> bool:
        """Whether both have the same bytes, or are links with the same text."""
        return other is not None and (self.data, self.is_link) == (other.data, other.is_link)


Snapshot = Mapping[str, Thing]


@dataclass(frozen=True)
class History:
    """Releases of one channel, the files and the commits of their packages."""

    channel: Path
    releases: dict[str, dict[str, Snapshot]] = field(repr=False)
    commits: dict[str, dict[str, str]] = field(repr=False)


def random_snapshot(source: random.Random, like: Snapshot | None) -> Snapshot:
    """Return files of a package: a change of the snapshot `like`, in which no file is where another needs a folder."""
    files = dict(like or {})
    for name in source.sample(sorted(files), source.randrange(len(files) + 1) // 2):
        thing = files.pop(name)
        if source.random() < 0.4:  # a rename, in case alone or to anywhere
            named = source.choice([name.swapcase(), *PATHS])
            files[named] = random_thing(source, named) if thing.is_link else thing
    for name in source.sample(PATHS, source.randrange(3, 9)):
        files[name] = random_thing(source, name)
    kept: dict[str, Thing] = {}
    for name in source.sample(sorted(files), len(files)):
        if not any(is_above(name, other) or is_above(other, name) for other in kept):
            kept[name] = files[name]
    return kept


def is_above(folder: str, path: str) -> bool:
    return path.startswith(f"{folder}/")


def random_thing(source: random.Random, name: str) -> Thing:
    if source.random() < 0.12:
        return Thing(
            ("../" * source.randrange(name.count("/") + 1) + source.choice(("config.json", "x/y"))).encode(),
            is_link=True,
        )
    return Thing(source.choice(RELEASE_BYTES), is_executable=source.random() < 0.3)


def make_history(root: Path, source: random.Random, releases: int) -> History:
    """Capture and release random snapshots of `PACKAGES` in a home below `root`."""
    home = Home(root / "maintainer")
    init_keys(home.keys, None)
    keys = load_keys(home.keys, lambda: None)
    made, commits = {}, {}
    now: dict[str, Snapshot] = {}
    for number in range(releases):
        name = f"r{number:03}"
        with Store.open(home.store, write=True) as store:
            for package in PACKAGES:
                if number and source.random() < 0.3:
                    continue
                now[package] = random_snapshot(source, now.get(package))
                commits.setdefault(name, {})[package] = f"{source.getrandbits(160):040x}"
                _capture(store, root, package, now[package], commits[name][package])
        before = commits.get(f"r{number - 1:03}", {})
        commits[name] = {**before, **commits.get(name, {})}
        made[name] = dict(now)
        release(ReleaseName(name), home, keys, clock=clock, emit=lambda _: None)
    return History(channel=home.channel, releases=made, commits=commits)


def _capture(store: Store, scratch: Path, package: str, files: Snapshot, commit: str) -> None:
    objects: dict[ObjectId, int] = {}
    entries = []
    for path, thing in sorted(files.items()):
        spooled = scratch / "spooled"
        spooled.write_bytes(thing.data)
        stored = store.add_file(spooled, path, Expected(size=len(thing.data), oid=None), PackClass("meta", "open"))
        for identifier, size in stored.objects:
            objects.setdefault(identifier, size)
        order = {identifier: row for row, identifier in enumerate(objects)}
        plain = EXECUTABLE_MODE if thing.is_executable else REGULAR_MODE
        entries.append(
            FileEntry(
                path=path,
                mode=LINK_MODE if thing.is_link else plain,
                link=thing.data.decode() if thing.is_link else None,
                size=stored.size,
                source="git",
                blake3=stored.blake3,
                sha256=stored.sha256,
                git_sha1=git_id(thing.data),
                cutter=stored.cutter,
                recipe=tuple((order[identifier], 1) for identifier, _ in stored.objects),
            )
        )
    put_capture(store, package, commit, tuple(entries), objects)
