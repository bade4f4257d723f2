"""Where a fetch writes, the disk it takes, asked before it starts, and what is cleared when it is done.

Cleared are what it leaves in `incoming`, and in the folders of packages what fetches of other snapshots left.
"""

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_error, disk_errors, ensure_dir, is_unwritable, new_temporary, require_space
from ptmtorrent.disk.elapsed import Uptime, find_old, read_uptime
from ptmtorrent.disk.locks import LOCK_NAME, WriteLock
from ptmtorrent.errors import StoreLocked, UsageError
from ptmtorrent.layouts.folders import SHARED_DIR, PlainDir, ensure_real_dir, files_below, remove_shared
from ptmtorrent.layouts.hf_cache import HfCache
from ptmtorrent.layouts.port import Layout
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.plan import Plan, staging_path
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.reading.sources import Sources, is_begun
from ptmtorrent.state.laid_out import LaidOut, Ledger, PackageFolder
from ptmtorrent.transports.begun import staged_extents
from ptmtorrent.transports.port import WINDOW_BYTES
from ptmtorrent.workflows.fetch.assembly import LINK, is_as_fetched
from ptmtorrent.workflows.fetch.select import Selection

ID_DIGITS = 64
BESIDE = "beside-"
MAX_FETCHES = 64
"""Fetches that run at once in one home."""
STAGED_BYTES = 2 * WINDOW_BYTES
STAGED_PACKS = 4
"""Packs that come, or wait to be decoded, take no more than these bytes and these many packs: each transport has a
window that it may exceed by one pack, one may wait between two threads, and one is being decoded."""


class DiskNeed(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes needed beyond what is there: for the files, and at most for packs at the same time.

    `waiting` are bases and deltas beside the files, until each has the other.
    """

    files: int
    staged: int
    waiting: int

    @property
    def bytes(self) -> int:
        """All together."""
        return self.files + self.staged + self.waiting


def choose_layout(into: str, to: Path | None, home: Home, *, writes: bool) -> Layout:
    """Return the layout `into` at the place `to`, or at its own; with `writes`, it may be asked what its disk can do.

    Raises:
        UsageError: the place lies in a folder that this home keeps for itself.
    """
    own = home.hf_cache if into == "hf-cache" else Path()
    root = Path(os.path.abspath(to or own))  # noqa: PTH100  # links stay as they are
    real = root.resolve()
    for folder in (home.store, home.channel, home.keys, home.listings, home.spool, home.incoming, home.trust):
        if real.is_relative_to(folder.resolve()):
            raise UsageError(
                f"`{root}` lies in `{folder}`, which ptmtorrent keeps for its own files",
                hint="lay out elsewhere with `--to`",
            )
    if into == "hf-cache":
        return HfCache(root, links=not writes or is_unwritable(root) or holds_links(root))
    return PlainDir(root)


def lock_places(home: Home, layout: Layout, stack: ExitStack) -> Path:
    """Lock the folders of unfinished files, of the home and of the layout, until `stack` is closed; return the first.

    Raises:
        StoreError: another process does (`StoreLocked`), or a link is in the way.
    """
    staging = lock_staging(home.incoming, stack)
    incoming = layout.incoming()
    ensure_real_dir(layout.root, incoming)
    remove_shared(incoming / LOCK_NAME)
    stack.enter_context(WriteLock(incoming))
    stack.callback(clear_incoming, incoming)
    return staging


def ignores_case(folder: Path) -> bool:
    """Return whether the filesystem of `folder` ignores case; creates and removes a file to find out.

    Raises:
        StoreError: `folder` cannot be written.
    """
    ensure_dir(folder, mode=SHARED_DIR)
    probe = new_temporary(folder / "probe")
    with disk_errors(probe):
        probe.touch(exist_ok=False)
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()


def holds_links(folder: Path) -> bool:
    """Return whether the filesystem of `folder` has symbolic links; creates and removes one to find out.

    Raises:
        StoreError: `folder` cannot be written.
    """
    ensure_dir(folder, mode=SHARED_DIR)
    probe = new_temporary(folder / "probe")
    try:
        probe.symlink_to("probe")
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
            return False
        raise disk_error(error, probe) from error
    with disk_errors(probe):
        probe.unlink()
    return True


def respell(folder: Path, paths: Iterable[Path]) -> None:
    """Give what is below `folder` the spelling of `paths`, where a disk that ignores case kept another one.

    Raises:
        StoreError: something cannot be renamed.
    """
    wanted: dict[str, Path] = {}
    for path in paths:
        for place in (path, *path.parents):
            if place == folder:
                break
            wanted[str(place).casefold()] = place
    left = [folder]
    while left:
        place = left.pop()
        with disk_errors(place), os.scandir(place) as entries:
            there = [(Path(entry), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for found, is_dir in there:
            named = wanted.get(str(found).casefold(), found)
            if named.name != found.name:
                with disk_errors(found):
                    found.rename(named)
            if is_dir:
                left.append(named)


def remove_unfinished(incoming: Path) -> None:
    """Remove what a killed fetch left of a file that is finished or not wanted.

    Raises:
        StoreError: it cannot be removed.
    """
    for path in (incoming, incoming.with_suffix(LINK)):
        with disk_errors(path):
            path.unlink(missing_ok=True)


def disk_needed(wanted: Selection, plan: Plan, waiting: int, sources: Sources) -> DiskNeed:
    """Return the most that laying out takes at once. Packs that are read in place take nothing, unless they are kept.

    Where a swarm is among the sources, every pack may be asked for whole in the end.
    """
    packs = [request.size if sources.widens else request.bytes for request in plan.requests]
    staged = sum(packs)
    if not sources.keeps_packs and not sources.lands_all:
        staged = min(staged, STAGED_BYTES + STAGED_PACKS * max(packs, default=0)) if sources.staged else 0
    return DiskNeed(files=wanted.unfinished_bytes, staged=staged, waiting=waiting)


def check_disk_space(need: DiskNeed, root: Path, staging: Path) -> None:
    """Refuse to begin what cannot end.

    Raises:
        NoSpace: naming the disk, the bytes needed and the bytes free.
    """
    require_space(
        ((root, need.files + need.waiting), (staging, need.staged)),
        hint="free some space, lay out elsewhere with `--to`, or take less with `--only` or `--max-bytes`",
    )


def clear_staging(staging: Path, packs: Iterable[PackId]) -> None:
    """Remove what earlier runs left of packs that are not needed any more."""
    staged = staged_extents(staging) if is_begun(staging) else {}
    for pack in packs:
        left = [staging_path(staging, pack, extent) for extent in staged.get(pack, ())]
        for path in (*left, staging / pack_path(pack)):
            with disk_errors(path):
                path.unlink(missing_ok=True)


def clear_abandoned(
    staging: Path, wanted: Collection[PackId], limit: timedelta, clock: Clock, uptime: Uptime = read_uptime
) -> None:
    """Remove packs that nothing was written to for `limit`, as far as fetches found, unless they are `wanted`.

    They are left over from fetches that were never resumed.
    """
    if not is_begun(staging):
        return
    parts = [staging_path(staging, pack, extent) for pack, found in staged_extents(staging).items() for extent in found]
    left = [path for path in (*parts, *staging.glob("packs/*/*.pack")) if path.name[:ID_DIGITS] not in wanted]
    for path in find_old(staging, left, limit, clock, uptime) if left else ():
        with disk_errors(path):
            path.unlink()


def lock_staging(staging: Path, stack: ExitStack) -> Path:
    """Return a folder for packs that are being received, locked until `stack` is closed.

    It is `staging`, or one inside it while another fetch has that. What such fetches left is taken over.

    Raises:
        StoreLocked: too many fetches run.
        StoreError: it cannot be written.
    """
    try:
        stack.enter_context(WriteLock(staging))
    except StoreLocked:
        for number in range(1, MAX_FETCHES):
            beside = staging / f"{BESIDE}{number}"
            with suppress(StoreLocked):
                stack.enter_context(WriteLock(beside))
                stack.callback(clear_incoming, beside)
                return beside
        raise
    for beside in staging.glob(f"{BESIDE}*"):
        with suppress(StoreLocked), WriteLock(beside):
            _take_over(beside, staging)
    return staging


def _take_over(beside: Path, staging: Path) -> None:
    """Move what another fetch left of packs to `staging`, and remove its folder."""
    for path in [*beside.glob("*.part"), *beside.glob("packs/*/*.pack")]:
        target = staging / path.relative_to(beside)
        with disk_errors(target):
            ensure_dir(target.parent)
            if not target.exists() or target.stat().st_size < path.stat().st_size:
                path.replace(target)
    shutil.rmtree(beside, ignore_errors=True)


def clear_incoming(incoming: Path) -> None:
    """Remove the folder of unfinished files when none is left in it."""
    with suppress(OSError):
        if [path.name for path in incoming.iterdir()] == [LOCK_NAME]:
            (incoming / LOCK_NAME).unlink()
            incoming.rmdir()


def settle_folder(
    folder: PackageFolder, names: Mapping[Path, str], ledger: Ledger, emit: Emit, *, folds: bool = False
) -> None:
    """Record that a folder holds its snapshot, whose files and hashes are `names`; remove or name what that lacks.

    Files that a fetch wrote, that nothing changed since and that the snapshot lacks are removed, once all of the
    snapshot is there. Everything else is kept and named. `folds`: the disk takes names that differ in case alone for
    one, and what has another name there gets that of the snapshot.

    Raises:
        StoreError: the folder or the ledger cannot be read.
    """
    several = folder.snapshot is None
    if folds and not several:
        _respell(folder.folder, names, ledger)
    ledger.belongs(folder, {} if several else names)
    if several:
        return
    found = _look(folder, names, ledger)
    removed: list[Path] = []
    if found.whole:
        for row in found.gone:
            ledger.forget(row.path)
        removed = [
            file.path
            for file in found.older
            if file.path not in names and remove_unchanged(file, folder.folder, ledger)
        ]
    kept = [file.path for file in found.older if file.path not in removed]
    if removed:
        emit(Note(message=f"`{folder.package}`: removed what its new snapshot lacks: {_listed(removed)}"))
    if kept:
        then = "move it away" if found.whole else "fetch the package without `--only` to replace it"
        message = f"`{folder.package}`: kept, although another snapshot left it: {_listed(kept)}; {then}"
        emit(Note(message=message, warning=True))
    if found.unknown:
        message = f"`{folder.package}`: no snapshot of it has {_listed(found.unknown)}; move it away"
        emit(Note(message=message, warning=True))


def _respell(folder: Path, names: Mapping[Path, str], ledger: Ledger) -> None:
    """Spell names as the snapshot does, and drop the rows of files that another spelling of the same name has now."""
    respell(folder, (path for path in names if os.path.lexists(path)))
    folded = {str(path).casefold() for path in names}
    for row in ledger.files(folder):
        if row.path not in names and str(row.path).casefold() in folded:
            ledger.forget(row.path)


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """A package's folder after a fetch: what is left of older snapshots, or gone, and what no fetch wrote."""

    older: list[LaidOut]
    gone: list[LaidOut]
    unknown: list[Path]
    whole: bool


def _look(folder: PackageFolder, names: Mapping[Path, str], ledger: Ledger) -> _Found:
    rows = ledger.files(folder.folder)
    known = {row.path for row in rows}
    whole = {row.path for row in rows if names.get(row.path) == row.blake3} == set(names)
    others = [row for row in rows if row.snapshot != folder.snapshot]
    older = [row for row in others if _is_file(row.path)]
    gone = [row for row in others if not _is_file(row.path)]
    unknown = [path for path in files_below(folder.folder) if path not in known and path not in names]
    return _Found(older=older, gone=gone, unknown=unknown, whole=whole)


def _is_file(path: Path) -> bool:
    """Return whether something is there that is not a folder, which may have taken the place of an older file."""
    return path.is_symlink() or (path.exists() and not path.is_dir())


def remove_unchanged(file: LaidOut, folder: Path, ledger: Ledger) -> bool:
    """Remove an unchanged file and the folders that it leaves empty; return whether it was removed."""
    inside = file.path.parent.relative_to(folder)
    reached = Path(os.path.realpath(file.path.parent))
    if not is_as_fetched(ledger, file.path) or reached != Path(os.path.realpath(folder), inside):
        return False
    with disk_errors(file.path):
        file.path.unlink()
    ledger.forget(file.path)
    for parent in [folder.joinpath(*inside.parts[:depth]) for depth in range(len(inside.parts), 0, -1)]:
        try:
            parent.rmdir()
        except OSError:
            break
    return True


def _listed(paths: Iterable[Path]) -> str:
    first, *others = paths
    return f"`{first}`" + (f" (and {count(len(others), 'more', 'more')})" if others else "")
