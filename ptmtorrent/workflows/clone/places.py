"""Folders of one name that lie at different places: two packages, told apart before anything is captured."""

from collections.abc import Sequence
from pathlib import Path

from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.port import Listed
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.state.places import Places
from ptmtorrent.workflows.clone.known import KnownPackages


class CapturedPlaces:
    """Compares where listed folders lie with where the captured packages of their names do.

    They are kept in `file`, which is opened when the first folder is listed and created if the run `writes`. With
    `named`, the user gave the name, so that a package of that name moves to the folder.
    """

    def __init__(  # noqa: PLR0913  # what is compared, and who is told
        self, file: Path, known: KnownPackages, prefix: str, emit: Emit, *, named: bool, writes: bool
    ) -> None:
        self._file, self._known, self._prefix, self._emit = file, known, prefix, emit
        self._named, self._writes = named, writes
        self._open: Places | None = None

    @property
    def _places(self) -> Places:
        if self._open is None:
            self._open = Places(self._file if self._writes or self._file.is_file() else None)
        return self._open

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()

    def check(self, listed: Listed) -> None:
        """Refuse a folder whose name belongs to a package that was captured from another one.

        Raises:
            UsageError: naming both folders.
        """
        if listed.place is None:
            return
        package = self._package(listed)
        before = self._places.get(package)
        if before in {None, listed.place} or self._known.snapshot(package) is None:
            return
        if not self._named:
            raise UsageError(
                f"`{package}` was captured from `{before}`, and `{listed.place}` is another folder of that name",
                hint="give this folder a name of its own: `--as NAME`",
            )
        message = f"`{package}` was captured from `{before}` before; its next revisions are from `{listed.place}`"
        self._emit(Note(message=message, warning=True))

    def keep(self, packages: Sequence[Listed]) -> None:
        """Keep where folders lie, durably, before anything of them is captured."""
        if not self._writes:
            return
        found = [(self._package(listed), listed.place) for listed in packages if listed.place is not None]
        if rows := [(package, place) for package, place in found if self._places.get(package) != place]:
            self._places.put(rows)

    def _package(self, listed: Listed) -> PackageName:
        return PackageName(f"{self._prefix}:{listed.name}")
