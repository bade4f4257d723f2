"""Plain folders: `<root>/<hub>/<package name>/<path>`, such as `OUT/hf/org/name/config.json`."""

from pathlib import Path

from ptmtorrent.layouts.port import Spot
from ptmtorrent.model.manifest import EXECUTABLE_MODE, FileEntry, Manifest
from ptmtorrent.model.names import check_path

INCOMING = ".ptmtorrent-incoming"


class PlainDir:
    """Lays packages out as the folders they were upstream, below `root`."""

    name = "dir"
    keeps_snapshots = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def incoming(self) -> Path:
        """Return the folder for unfinished files; see `Layout.incoming`."""
        return self.root / INCOMING

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder that everything of the package is in; see `Layout.folder`."""
        package = manifest.package
        check_path(f"{package.hub}/{package.name}")
        return self.root / package.hub / package.name

    def place(self, manifest: Manifest, file: FileEntry) -> Spot:
        """Return where `file` goes; see `Layout.place`."""
        mode = 0o755 if file.mode == EXECUTABLE_MODE else 0o644
        return Spot(target=self.folder(manifest) / file.name, mode=mode, points=file.link)

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...]) -> Path:  # noqa: ARG002  # needs nothing more
        """Return the package's folder; see `Layout.finish`."""
        return self.folder(manifest)
