"""What lies in the folders of a store: sealed packs, and temporary files that killed writers left."""

import os
from collections.abc import Iterator
from pathlib import Path

from ptmtorrent.disk.durable import TEMPORARY_PREFIX, disk_errors, files_in
from ptmtorrent.model.ids import PackId, is_hex64


def packs_on_disk(root: Path) -> dict[PackId, int]:
    """Return the sealed packs on disk and their sizes, sorted."""
    found: dict[PackId, int] = {}
    for path in files_below(root / "packs", "*.pack"):
        if is_hex64(path.stem) and path.parent.name == path.stem[:2]:
            with disk_errors(path):
                found[PackId(path.stem)] = path.stat().st_size
    return found


def remove_temporaries(root: Path) -> None:
    """Remove temporary files that killed writers left."""
    pattern = f"{TEMPORARY_PREFIX}*"
    folders = (root, root / "open")
    left = [path for folder in folders for path in files_in(folder, pattern)]
    for path in (*left, *files_below(root / "packs", pattern), *files_below(root / "hashes", pattern)):
        with disk_errors(path):
            os.unlink(path)  # noqa: PTH108  # the same call, with the name in errors


def files_below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files that match `pattern` in the two-character folders below `folder`."""
    for each in files_in(folder, "??"):
        yield from files_in(each, pattern)
