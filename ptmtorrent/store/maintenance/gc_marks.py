"""`gc.json`: unreferenced packs and when they were found; they are deleted after a grace period.

::

    {"dead":[["ab12...","2026-11-20T12:00:00Z"]],"format":"ptmtorrent/store-marks","requires":[],"version":1}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ptmtorrent.disk.durable import disk_errors, write_file
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId

MARKS_NAME = "gc.json"


class Marks(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """Dead packs, sorted, each with the time at which it was first found dead."""

    FORMAT: ClassVar[str] = "ptmtorrent/store-marks"

    dead: tuple[tuple[PackId, str], ...]


def read_marks(root: Path) -> dict[PackId, str]:
    """Return the marks of the store at `root`; if the file is damaged, none, so that the grace period starts again."""
    path = root / MARKS_NAME
    try:
        with disk_errors(path):
            data = path.read_bytes() if path.is_file() else b""
        return dict(canonical.decode(data, Marks, name=MARKS_NAME).dead)
    except IntegrityError:
        return {}


def write_marks(root: Path, marks: Mapping[PackId, str]) -> None:
    """Write `marks`, durably."""
    document = Marks(format=Marks.FORMAT, version=Marks.VERSION, requires=(), dead=tuple(sorted(marks.items())))
    write_file(root / MARKS_NAME, canonical.encode(document))
