"""The port of layouts: how a package is laid out for its user. Layouts say where; the fetch workflow writes.

A file is assembled in `incoming`, verified, and only then renamed to where `place` says.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.model.manifest import FileEntry, Manifest


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file goes: its bytes at `target`, and, where the layout wants one, a relative link to it at `link`.

    `proves` is a hash that the place itself claims, `sha256:<hex>` or `git:<hex>` (of a git blob): it is checked before
    the file appears there, because other programs believe it. With `points` the place is a symbolic link with this
    text, which are the bytes of the file; the manifest has been checked to hold none that leads out of its package.
    """

    target: Path
    link: Path | None = None
    mode: int = 0o644
    proves: str | None = None
    points: str | None = None


class Layout(Protocol):
    """Decides places below `root`; writes nothing but small layout files of its own in `finish`."""

    name: str
    root: Path
    keeps_snapshots: bool
    """Whether several snapshots of a package lie side by side; if not, a fetch replaces what an older one left."""

    def incoming(self) -> Path:
        """Return the folder for unfinished files, on the same filesystem as `root`."""
        ...

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder that everything of the package is in."""
        ...

    def place(self, manifest: Manifest, file: FileEntry) -> Spot:
        """Return where `file` goes. The paths of `manifest` have been checked."""
        ...

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...]) -> Path:
        """Write what a reader of this layout expects besides the files; return the folder to tell the user of."""
        ...
