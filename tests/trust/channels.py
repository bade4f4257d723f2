"""Small channels for the tests of trust: real releases that list one file, the tree of their index."""

from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.release import FileRef, Release, Totals, content_root, placement_root
from ptmtorrent.trust.client import VerifiedRelease, open_fresh
from ptmtorrent.trust.fingerprints import read_first_root
from ptmtorrent.trust.keys import Keys, init_keys, load_keys
from ptmtorrent.trust.publisher import publish_release_metadata

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class FolderReader:
    """Reads a channel from a folder, and records the requests."""

    def __init__(self, folder: Path) -> None:
        self.location = str(folder)
        self.folder = folder
        self.asked: list[tuple[str, int]] = []

    def read(self, path: str, *, limit: int) -> bytes:
        self.asked.append((path, limit))
        try:
            with (self.folder / path).open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError as error:
            raise NotFound(f"`{path}` is not in `{self.folder}`") from error
        if len(data) > limit:
            raise IntegrityError(f"`{path}` is longer than {limit} bytes")
        return data


def new_keys(folder: Path) -> Keys:
    init_keys(folder, None)
    return load_keys(folder, lambda: None)


def tree(name: str = "r1", text: str = "tree") -> tuple[FileRef, bytes]:
    data = text.encode()
    path = f"releases/{name}/index/tree.bin"
    return FileRef(path=path, size=len(data), blake3=blake3(data).hexdigest()), data


def new_release(name: str, sequence: int) -> Release:
    listed, members = tree(name)[0], "0" * 64
    return Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=ReleaseName(name),
        sequence=sequence,
        created="2026-11-20T12:00:00Z",
        written_by="ptmtorrent test",
        content_root=content_root(ReleaseName(name), members, ()),
        placement_root=placement_root((), listed, (), ()),
        members_root=members,
        runs=(),
        tree=listed,
        tables=(),
        subsets=(),
        volumes=(),
        totals=Totals(packages=0, files=0, raw=0, stored=0, packs=0, packs_bytes=0),
    )


def write_release(channel: Path, name: str, sequence: int) -> Path:
    ref, data = tree(name)
    path = channel / "releases" / name / "release.json"
    (channel / ref.path).parent.mkdir(parents=True, exist_ok=True)
    (channel / ref.path).write_bytes(data)
    path.write_bytes(canonical.encode(new_release(name, sequence)))
    return path


def publish(channel: Path, keys: Keys, name: str, sequence: int, now: datetime = NOW) -> Path:
    path = write_release(channel, name, sequence)
    publish_release_metadata(channel, keys, path, ReleaseName(name), sequence, now)
    return path


def open_newest(
    channel: Path, state: Path, *, root: bytes | None = None, release: str | None = None, now: datetime = NOW
) -> VerifiedRelease:
    pinned = read_first_root(channel) if root is None else root
    return open_fresh(FolderReader(channel), root=pinned, state=state, now=now, release=release)
