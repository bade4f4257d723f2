"""Which names of files the reader's platform cannot write. A package keeps the names that it has upstream.

Names of letters, digits, `_`, `-` and `.` are written everywhere. Any other name is tried once, as an empty file in a
folder of its own on the disk of the layout: what a disk refuses or changes depends on its filesystem, its mount options
and the length of the name, and asking it is the one way to know. On Windows a name with a separator, a colon or the
name of a device would be another place, so such names are refused unasked.
"""

import os
import re
import shutil
import unicodedata
from pathlib import Path
from types import TracebackType
from typing import Self

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.model.ids import path_bytes, show_path

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-]|[A-Za-z0-9_-]|\.[A-Za-z0-9_-]{1,63}")
_OF_WINDOWS = re.compile(rb'[\x00-\x1f\\:*?"<>|]|[. ]$')
_DEVICES = re.compile(rb"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(\..*)?", re.DOTALL)


FOLDER = "names"


class Names:
    """The names that a platform takes, asked once each in a folder made below `place`; None asks nothing.

    Leaving the context removes the folder.
    """

    def __init__(self, place: Path | None, *, windows: bool = os.name == "nt") -> None:
        self._folder = None if place is None else place / FOLDER
        self._windows = windows
        self._known: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        self._clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        """Remove the folder, which a killed process may have left."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def refusal(self, path: str) -> str | None:
        """Return why the file at `path` of a package cannot be written under its name; None if it can."""
        if self._folder is None and not self._windows:
            return None
        return next(filter(None, map(self._refusal_of, path.split("/"))), None)

    def _refusal_of(self, name: str) -> str | None:
        if name not in self._known:
            encoded = path_bytes(name)
            reason = _reason_on_windows(encoded) if self._windows else None
            self._known[name] = reason or (None if _PLAIN.fullmatch(name) else self._try(encoded))
        reason = self._known[name]
        return None if reason is None else f"`{show_path(name)}` {reason}"

    def _try(self, name: bytes) -> str | None:
        """Make an empty file of this name and remove it; return why that is not possible."""
        if self._folder is None:
            return None
        place = os.fsencode(self._folder) + b"/" + name
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
        try:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            return f"is a name that the disk does not take: {error.strerror}"
        with disk_errors(self._folder):
            found = list(self._folder.iterdir())
            for each in found:
                each.unlink()
        if [_composed(os.fsencode(each.name)) for each in found] != [_composed(name)]:
            return f"is a name that the disk changes to {found[0].name if found else ''!r}"
        return None


def _reason_on_windows(name: bytes) -> str | None:
    if _OF_WINDOWS.search(name):
        return "is a name that Windows does not take: a separator, a control character, or a dot or space at its end"
    if _DEVICES.fullmatch(name.lower()):
        return "is the name of a device on Windows"
    return None


def _composed(name: bytes) -> str:
    """Return a name with its accents composed: some disks decompose them, and find the file by either spelling."""
    return unicodedata.normalize("NFC", name.decode(errors="surrogateescape"))
