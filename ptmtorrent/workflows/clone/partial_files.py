"""Half-downloaded files between runs: collected from workers that have ended, and deleted when they are old."""

import shutil
from contextlib import suppress
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import StoreLocked
from ptmtorrent.model.moments import Clock

WORKERS = "workers"
"""Folder of the spool with one subfolder per worker."""

OLD_SECONDS = 14 * 24 * 3600
"""Age at which a half-downloaded file is deleted; a later download starts again."""


def collect_parts(spool: Path) -> None:
    """Move the parts of workers that have ended into the spool; folders of running workers are left alone.

    Of two parts of one file the longer is kept.
    """
    folders = list((spool / WORKERS).iterdir()) if (spool / WORKERS).is_dir() else []
    for folder in folders:
        if not folder.is_dir():
            continue
        with suppress(StoreLocked), WriteLock(folder), disk_errors(folder):
            for part in folder.glob("*.part"):
                here = spool / part.name
                if not here.exists() or here.stat().st_size < part.stat().st_size:
                    part.replace(here)
            shutil.rmtree(folder, ignore_errors=True)


def delete_old_parts(spool: Path, clock: Clock) -> None:
    """Delete parts that were not written to for two weeks."""
    limit = clock().timestamp() - OLD_SECONDS
    for part in spool.glob("*.part"):
        with disk_errors(part):
            if part.stat().st_mtime < limit:
                part.unlink(missing_ok=True)
