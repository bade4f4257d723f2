"""Moves files of a release into a Globus collection by jobs: staged, compared, then renamed into place."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from ptmtorrent.disk.durable import open_regular
from ptmtorrent.errors import AuthError, IntegrityError, Interrupted, NotFound, TransportError
from ptmtorrent.model.records import Note
from ptmtorrent.progress import Meter
from ptmtorrent.transports.globus.hints import resume_hint
from ptmtorrent.transports.globus.jobs import ENDED, Job, JobItem, with_state
from ptmtorrent.transports.globus.locations import STAGING
from ptmtorrent.transports.globus.run_job import MAX_ITEMS, run_job
from ptmtorrent.transports.globus.service import Entry
from ptmtorrent.workflows.publish.compare import SAMPLE_BYTES
from ptmtorrent.workflows.publish.globus_target import File, Target

SAMPLES = 32


def move(target: Target, files: Sequence[File], meter: Meter) -> int:
    """Send `files` in jobs of at most `MAX_ITEMS`; return the bytes moved."""
    moved = 0
    for at in range(0, len(files), MAX_ITEMS):
        job = target.context.jobs.plan(
            "publish",
            source=target.from_location,
            destination=target.place.folder,
            files=files[at : at + MAX_ITEMS],
            landing=target.place.below(STAGING),
        )
        moved += finish(target, job)
        meter.add(bytes=job.bytes)
    return moved


def finish(target: Target, job: Job) -> int:
    """Bring `job` to `installed`; return the bytes it moved."""
    job = run_job(job, target.context, target.stop)
    if job.state in {"failed", "cancelled"}:
        raise TransportError(
            f"{job.name} {job.state}: {job.reason}",
            hint="nothing was published by it; fix the cause, then run the same command again",
        )
    if job.state == "landed":
        _verify(target, job)
        job = target.context.jobs.save(with_state(job, "verified"))
    if job.state != "verified":
        raise Interrupted(
            f"interrupted; {job.name} goes on" if job.task_id else "interrupted; nothing was submitted yet",
            hint=resume_hint(job.task_id) if job.task_id else "run the same command again",
        )
    _install(target, job)
    target.context.jobs.save(with_state(job, "installed"))
    return job.bytes


def _verify(target: Target, job: Job) -> None:
    """Compare the sizes of all that landed, and read samples back over HTTPS where the collection has that."""
    sizes = {path: entry.size for path, entry in _landed(target, job.items)}
    for item in job.items:
        if sizes.get(item.landing) != item.size:
            _fail(target, job, f"`{item.landing}` landed with {sizes.get(item.landing)} bytes, not {item.size}")
    try:
        reader = target.collection.reader()
    except NotFound as error:
        target.emit(Note(message=f"nothing was read back over HTTPS: {error.message}", warning=True))
        return
    source = random.Random(job.job)  # noqa: S311  # which bytes to sample, the same for a job each time
    for item in source.sample(job.items, min(SAMPLES, len(job.items))):
        start = source.randrange(max(1, item.size - SAMPLE_BYTES))
        length = min(SAMPLE_BYTES, item.size - start)
        path = item.landing.removeprefix(f"{target.place.path}/")
        with os.fdopen(open_regular(target.local(item.path)), "rb") as file:
            file.seek(start)
            if reader.read_range(path, start, length) != file.read(length):
                _fail(target, job, f"`{item.landing}` landed with other bytes from byte {start} on")


def _fail(target: Target, job: Job, why: str) -> None:
    target.context.jobs.save(with_state(job, "failed", reason=why))
    raise IntegrityError(why, hint="nothing was published by it; run the same command again")


def _landed(target: Target, items: Sequence[JobItem]) -> Iterator[tuple[str, Entry]]:
    for folder in dict.fromkeys(str(PurePosixPath(item.landing).parent) for item in items):
        try:
            entries = target.service.list(target.place.collection, folder)
        except NotFound:
            continue
        for name, entry in entries.items():
            yield f"{folder}/{name}", entry


def _install(target: Target, job: Job) -> None:
    """Rename what landed into place, in the order of the job; what a run before renamed is not there any more."""
    left = {path for path, _ in _landed(target, job.items)}
    made: set[str] = set()
    for item in job.items:
        if item.landing not in left:
            continue
        _make_folders(target, str(PurePosixPath(item.path).parent), made)
        _rename(target, item)


def _make_folders(target: Target, folder: str, made: set[str]) -> None:
    for parent in [*reversed(PurePosixPath(folder).parents), PurePosixPath(folder)]:
        if str(parent) not in made | {"."}:
            target.service.make_folder(target.place.collection, target.place.below(str(parent)))
            made.add(str(parent))


def _rename(target: Target, item: JobItem) -> None:
    """Give a file its name. Where a collection does not rename over a file, the old one steps aside first."""
    collection, new = target.place.collection, target.place.below(item.path)
    try:
        target.service.rename(collection, item.landing, new)
    except TransportError as error:
        if "Exists" not in error.message:
            raise
        target.service.rename(collection, new, f"{item.landing}.replaced")
        target.service.rename(collection, item.landing, new)


def tidy(target: Target) -> None:
    """Ask for the end of what ended jobs of ours left in the staging folder.

    It is asked for once, and not waited for: what a kill or a refusal leaves goes with the next release. The staging
    folder itself stays, as the service may come to it while the next job lands there.
    """
    try:
        ended = {job.job for job in target.context.jobs.all() if job.state in ENDED}
        if left := sorted(ended & set(target.list(STAGING))):
            staging = target.place.below(STAGING)
            target.service.delete(target.place.collection, [f"{staging}/{job}" for job in left])
    except (AuthError, NotFound, TransportError) as error:
        target.emit(Note(message=f"`{STAGING}` was not cleaned up: {error.message}", warning=True))
