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

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...]) -> Path:
        """Write what a reader of this layout expects besides the files; return the folder of the package."""
        ...
