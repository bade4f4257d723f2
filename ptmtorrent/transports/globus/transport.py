"""Transfers packs with Globus, from a channel in a collection to a local folder that another collection exposes.

A pack lands in `.ptm-incoming/<job>` and is hashed there; only a correct pack is renamed into the staging folder,
because a partial file of an interrupted GridFTP transfer may have its full size and wrong bytes inside. Wrong and
missing packs are `Failed`, so that the chain of transports requests them elsewhere.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import open_regular
from ptmtorrent.errors import IntegrityError, NotFound, PtmError, StoreError, TransportError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.locations import GlobusLocation
from ptmtorrent.model.plan import Extent, PackRequest, needed_extents, staging_path
from ptmtorrent.model.text import spell_size
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import TaskEnded
from ptmtorrent.transports.globus.jobs import UNSUBMITTED, WAITING, Job, JobItem, with_state
from ptmtorrent.transports.globus.landing import leave_landing, make_landing, nothing_landed
from ptmtorrent.transports.globus.locations import INCOMING, LocalCollection
from ptmtorrent.transports.globus.run_job import MAX_ITEMS, JobContext, run_job
from ptmtorrent.transports.port import Delivered, Failed

HASH_BYTES = 1 << 20

Outcome = Delivered | Failed


class GlobusTransport:
    """Delivers whole packs of the channel at `place` with tasks of the Transfer service."""

    whole_packs = True

    def __init__(
        self, place: GlobusLocation, here: LocalCollection, context: JobContext, *, max_items: int = MAX_ITEMS
    ) -> None:
        self.name = f"globus:{place.collection}"
        self._place = place
        self._here = here
        self._context = context
        self._max_items = max_items
        self._landing = f"globus:{here.collection}/{INCOMING}"

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`.

        Unfinished jobs of earlier runs that contain a requested pack are completed first.

        Raises:
            StoreError: the landing path contains a link.
            ConfigError: `globus_here` is wrong: what the collection shows is not on this machine.
            AuthError, TransportError: user action is needed before packs can move; jobs are kept.
        """
        self._refuse_links(self._here.folder / INCOMING)
        waiting = {request.pack: request for request in requests}
        for request in requests:
            if not stop.is_set() and _is_pack(staging_path(staging, request.pack, _whole(request)), request):
                del waiting[request.pack]
                yield from self._delivered(request, staging, 0)
        for job in self._context.jobs.open("fetch", self._place.folder, self._landing):
            if stop.is_set():
                return
            if self._concerns(job, waiting):
                yield from self._run(job, waiting, staging, stop)
        while waiting and not stop.is_set():
            batch = list(waiting.values())[: self._max_items]
            files = [self._file(request) for request in batch]
            job = self._context.jobs.plan(
                "fetch", source=self._place.folder, destination=self._landing, files=files, landing=f"/{INCOMING}"
            )
            yield from self._run(job, waiting, staging, stop)

    def _file(self, request: PackRequest) -> tuple[str, int, str]:
        path = pack_path(request.pack)
        return path, request.size, self._place.below(path)

    def _concerns(self, job: Job, waiting: dict[PackId, PackRequest]) -> bool:
        """Whether `job` must be run: it has a requested pack, or its task has ended and needs cleanup."""
        if any(_pack_of(item) in waiting for item in job.items) or job.state in {"landed", "verified"}:
            return True
        if job.state not in WAITING:
            return False
        try:
            return self._context.service.task(job.task_id).status in {"SUCCEEDED", "FAILED"}
        except NotFound:
            return True

    def _finish(self, job: Job, stop: Stop) -> Job:
        """Run `job` as far as it goes now; where it cannot be submitted, leave no folder of it."""
        if job.state not in UNSUBMITTED:
            return run_job(job, self._context, stop)
        try:
            make_landing(job, self._here, self._context, stop)
            return run_job(job, self._context, stop)
        except PtmError:
            leave_landing(job, self._here)
            raise

    def _run(self, job: Job, waiting: dict[PackId, PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Run `job`; yield an outcome for each of its packs in `waiting`, removing them from it."""
        job = self._finish(job, stop)
        packs = {_pack_of(item): item for item in job.items}
        wanted = [waiting[pack] for pack in packs if pack in waiting]
        if job.state == "landed" and not any(self._local(item).exists() for item in job.items):
            lost = nothing_landed(job, self._here, self._context, stop)
            self._context.jobs.save(with_state(job, "failed", reason=lost.message))
            raise lost
        if job.state in {"failed", "cancelled"}:
            self._clear(job)
            ended = TaskEnded(f"{job.name} {job.state}: {job.reason}", hint=_instead(wanted))
            for request in wanted:
                del waiting[request.pack]
                yield from self._failed(request, ended)
            return
        if job.state not in {"landed", "verified"}:
            return
        reasons = {}
        for request in wanted:
            if stop.is_set():
                return
            reasons[request.pack] = self._check(packs[request.pack], request)
        job = self._context.jobs.save(with_state(job, "verified"))
        for request in wanted:
            del waiting[request.pack]
            error = reasons[request.pack]
            if error is not None:
                yield from self._failed(request, error)
                continue
            self._install(packs[request.pack], request, staging)
            yield from self._delivered(request, staging, request.size)
        self._clear(job)
        self._context.jobs.save(with_state(job, "installed"))

    def _local(self, item: JobItem) -> Path:
        return self._here.folder / item.landing.lstrip("/")

    def _refuse_links(self, folder: Path) -> None:
        """Refuse landing paths with links, which could lead to files of other users.

        Raises:
            StoreError: `folder`, or a parent within the collection's folder, is a link.
        """
        for one in (folder, *folder.parents):
            if one == self._here.folder:
                return
            if one.is_symlink():
                raise StoreError(f"`{one}` is a link; packs are not written through links", hint=f"remove it: rm {one}")

    def _check(self, item: JobItem, request: PackRequest) -> PtmError | None:
        landed = self._local(item)
        self._refuse_links(landed.parent)
        if _is_pack(landed, request):
            return None
        if not landed.is_file():
            return TransportError(
                f"`{landed}` is missing, although its task succeeded: `globus_here` is `{self._here}`"
            )
        return IntegrityError(f"`{landed}` does not have the hash of the pack `{request.pack}`")

    def _install(self, item: JobItem, request: PackRequest, staging: Path) -> None:
        """Move a verified pack into staging, durably."""
        landed = self._local(item)
        target = staging_path(staging, request.pack, _whole(request))
        durable.ensure_dir(staging)
        with durable.disk_errors(landed), os.fdopen(open_regular(landed), "rb") as file:
            os.fsync(file.fileno())
            near = os.fstat(file.fileno()).st_dev == staging.stat().st_dev
        if near:
            durable.name_file(landed, target)
            return
        durable.link_or_copy(landed, target)
        with durable.disk_errors(landed):
            landed.unlink()

    def _clear(self, job: Job) -> None:
        """Remove the landing folder of a finished job, and its parent when empty."""
        self._refuse_links(self._here.folder / INCOMING / job.job)
        shutil.rmtree(self._here.folder / INCOMING / job.job, ignore_errors=True)
        with suppress(OSError):
            (self._here.folder / INCOMING).rmdir()

    def _delivered(self, request: PackRequest, staging: Path, moved: int) -> Iterator[Outcome]:
        path = staging_path(staging, request.pack, _whole(request))
        for extent in request.extents:
            yield Delivered(
                request=request,
                extent=extent,
                path=path,
                start=extent.offset,
                moved=moved,
                source=self.name,
                temporary=True,
            )

    def _failed(self, request: PackRequest, error: PtmError) -> Iterator[Outcome]:
        for extent in request.extents:
            yield Failed(request=request, extent=extent, source=self.name, error=error)


def _instead(requests: Sequence[PackRequest]) -> str:
    size = sum(extent.length for request in requests for extent in needed_extents(request))
    return (
        "fix the cause, then run the same command again; or allow this collection's HTTPS server"
        f" ({spell_size(size)}): `--transport globus+http`"
    )


def _pack_of(item: JobItem) -> PackId:
    return PackId(Path(item.path).stem)


def _whole(request: PackRequest) -> Extent:
    return Extent(offset=0, length=request.size)


def _is_pack(path: Path, request: PackRequest) -> bool:
    """Whether `path` is a regular file with the size and hash of the pack."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    hasher = blake3()
    with durable.disk_errors(path), os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != request.size:
            return False
        while data := file.read(HASH_BYTES):
            hasher.update(data)
    return hasher.hexdigest() == request.pack
