"""Manifests for tests of layouts."""

from hashlib import sha256
from pathlib import Path

from blake3 import blake3

from ptmtorrent.model.ids import object_id
from ptmtorrent.model.manifest import REGULAR_MODE, FileEntry, Identity, Manifest, new_manifest
from tests.channels import COMMIT, git_id


def new_file(path: str, data: bytes, row: int, *, lfs: bool = False, mode: int = REGULAR_MODE) -> FileEntry:
    return FileEntry(
        path=path,
        mode=mode,
        size=len(data),
        source="lfs" if lfs else "git",
        blake3=blake3(data).hexdigest(),
        sha256=sha256(data).hexdigest(),
        git_sha1=None if lfs else git_id(data),
        cutter="opaque/1",
        recipe=((row, 1),),
    )


def manifest_of(name: str = "org/name", hub: str = "hf", commit: str = COMMIT) -> Manifest:
    """Two small files and one LFS file."""
    contents = (b"{}", b"weights" * 9, b"# card")
    files = (
        new_file("config.json", contents[0], 0),
        new_file("deep/model.safetensors", contents[1], 1, lfs=True),
        new_file("README.md", contents[2], 2),
    )
    objects = tuple((object_id(data), len(data)) for data in contents)
    return new_manifest(Identity(hub=hub, name=name, commit=commit), files, objects)


class Kept(dict[Path, str]):
    """The marks of a reader, in memory."""

    def mark(self, path: Path) -> str | None:
        return self.get(path)

    def put_mark(self, path: Path, text: str) -> None:
        self[path] = text
