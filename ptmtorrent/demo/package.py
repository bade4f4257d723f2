"""A package as the sample hub holds it: its files, and what the hub says about it."""

from pathlib import Path
from typing import Literal

import msgspec

from ptmtorrent.demo.contents import Content, InMemory, OnDisk

Access = Literal["public", "gated", "private"]

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".onnx", ".msgpack", ".h5", ".pt", ".ot")
LFS_BYTES = 10_000_000
"""Longer files are LFS whatever their name (10 MB)."""

CREATED_SECONDS = 1_767_225_600
"""2026-01-01T00:00:00Z: when every sample package was made, unless it says otherwise."""


class PackageFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file at a path."""

    path: str
    content: Content

    @property
    def is_lfs(self) -> bool:
        """Tell whether the hub keeps the file in LFS: by suffix, as `.gitattributes` says, or by size."""
        return self.path.endswith(LFS_SUFFIXES) or self.content.size > LFS_BYTES


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package. `downloads` is None when the hub does not count them, `licence` when none was chosen.

    Another `registration` makes it another package of the same name. One that was renamed says what it was
    `registered_as`.
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
        """The owner's name: what stands before the slash."""
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
        """Serve what lies in `folder`, all its regular files, as the package `name`. Nothing is read into memory."""
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
