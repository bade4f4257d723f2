"""A package of the sample hub: its files, and the metadata that the hub states."""

from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.demo.contents import Content, InMemory, OnDisk

Access = Literal["public", "gated", "private"]

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".onnx", ".msgpack", ".h5", ".pt", ".ot")
LFS_BYTES = 10_000_000
"""Longer files are in LFS, independent of their name (10 MB)."""

CREATED_SECONDS = 1_767_225_600
"""2026-01-01T00:00:00Z: the default creation time of a sample package."""


class PackageFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file at a path."""

    path: str
    content: Content

    @property
    def is_lfs(self) -> bool:
        """Whether the file is in LFS: by suffix, as `.gitattributes` states, or by size."""
        return self.path.endswith(LFS_SUFFIXES) or self.content.size > LFS_BYTES


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package. `downloads` is None if the hub does not count them, `licence` if the package has none.

    Another `registration` makes it another package of the same name. `registered_as` is the former name of a renamed
    package.
    """

    name: str
    files: tuple[PackageFile, ...]
    access: Access = "public"
    licence: str | None = None
    downloads: int | None = None
    likes: int = 0
    task: str | None = None
    library: str | None = None
    tags: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    created_seconds: int = CREATED_SECONDS
    registration: str = ""
    registered_as: str = ""

    @property
    def author(self) -> str:
        """The name of the owner: the part before the slash."""
        return self.name.split("/")[0]

    @classmethod
    def from_folder(
        cls,
        name: str,
        folder: Path,
        *,
        licence: str | None = None,
        downloads: int | None = None,
        access: Access = "public",
    ) -> "Package":
        """Return a package `name` of all regular files in `folder`, which are not read into memory."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = tuple(
            PackageFile(path=path.relative_to(folder).as_posix(), content=OnDisk(path, path.stat().st_size))
            for path in paths
        )
        return cls(name=name, files=files, licence=licence, downloads=downloads, access=access)


def text_file(path: str, text: str) -> PackageFile:
    """Return a file of UTF-8 text."""
    return PackageFile(path=path, content=InMemory(text.encode()))


def data_file(path: str, data: bytes) -> PackageFile:
    """Return a file of bytes."""
    return PackageFile(path=path, content=InMemory(data))
