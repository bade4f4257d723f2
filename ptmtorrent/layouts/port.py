"""The port of layouts: where the files of a package are written.

The fetch workflow assembles a file in `incoming`, verifies it, and only then renames it to its destination.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.model.manifest import FileEntry, Manifest


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """The destination of a file: its bytes at `target`, and, if the layout has one, a relative link to it at `link`.

    `claimed_hash` is the hash that the path states, `sha256:<hex>` or `git:<hex>` (of a git blob). It is checked before
    the file appears there, because other programs rely on it. If `link_text` is given, `target` is a symbolic link with
    this text, which is the content of the file; the manifest was checked for links that lead out of the package.
    """

    target: Path
    link: Path | None = None
    mode: int = 0o644
    claimed_hash: str | None = None
    link_text: str | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The folder of a package that is laid out, and what its user has to know ("" for nothing)."""

    folder: Path
    note: str = ""


class Marks(Protocol):
    """Remembers what fetches wrote to small files that others may change, such as the refs of a cache."""

    def mark(self, path: Path) -> str | None:
        """Return the text that was last written to the file."""
        ...

    def put_mark(self, path: Path, text: str) -> None:
        """Record that the file was written with `text`."""
        ...


class Layout(Protocol):
    """Decides paths below `root`; writes only the small files of the layout itself, in `finish`."""

    name: str
    root: Path
    keeps_snapshots: bool
    """Whether several snapshots of a package exist side by side; if not, a fetch replaces what an older one left."""

    def incoming(self) -> Path:
        """Return the folder for unfinished files, on the same filesystem as `root`."""
        ...

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder that contains every file of the package."""
        ...

    def destination(self, manifest: Manifest, file: FileEntry) -> Destination:
        """Return the destination of `file`. The paths of `manifest` must have been checked."""
        ...

    def place(self, manifest: Manifest, file: FileEntry) -> str:
        """Return what names the target of `file` among those of its package: equal names are one target."""
        ...

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...], marks: Marks) -> Finished:
        """Write what a reader of this layout expects besides the files.

        What is there and is not as `marks` has it belongs to the user, and is left with a note.
        """
        ...
