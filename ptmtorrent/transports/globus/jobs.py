"""The journal of Globus jobs: one document per job (docs/formats/globus-jobs.md), durable before each step.

::

    planned ─► prepared ─► submitted ─► active | paused ─► landed ─► verified ─► installed
                                             └─► failed | cancelled

`prepared` holds the document of the task with its `submission_id`. It is durable before the document is posted, so
that a run after a kill posts the same document, and the service returns the existing task.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ptmtorrent.disk import durable
from ptmtorrent.disk.durable import read_regular
from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import check_path

JobKind = Literal["fetch", "publish"]
JobState = Literal[
    "planned",
    "prepared",
    "submitted",
    "active",
    "paused",
    "landed",
    "verified",
    "installed",
    "failed",
    "cancelled",
]
_ID = re.compile(r"[0-9a-f]{16}")
ENDED: frozenset[JobState] = frozenset({"installed", "failed", "cancelled"})
UNSUBMITTED: frozenset[JobState] = frozenset({"planned", "prepared"})
WAITING: frozenset[JobState] = frozenset({"submitted", "active", "paused"})
ID_BYTES = 8


class JobItem(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its path in the channel, size in bytes, and source and landing paths within the collections.

    `landing` is temporary: the file is renamed once it has been verified.
    """

    path: str
    size: int
    source: str
    landing: str


class Job(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One job. `source` and `destination` are locations; `document` is the request body, verbatim."""

    FORMAT: ClassVar[str] = "ptmtorrent/globus-job"

    job: str
    kind: JobKind
    state: JobState
    source: str
    destination: str
    items: tuple[JobItem, ...]
    submission_id: str = ""
    task_id: str = ""
    document: dict[str, Any] = msgspec.field(default_factory=dict)
    reason: str = ""

    @property
    def name(self) -> str:
        """Its name in messages: the task id, if any."""
        return f"task `{self.task_id}`" if self.task_id else f"the transfer `{self.job}`"

    @property
    def bytes(self) -> int:
        """Total bytes of all files."""
        return sum(item.size for item in self.items)


class Jobs:
    """The jobs in `folder`. Each workflow holds a lock, so one process at a time works on the jobs of a kind.

    `draw` generates ids: two homes may use the same collection, and need separate folders in it.
    """

    def __init__(self, folder: Path, *, draw: Callable[[int], str] = secrets.token_hex) -> None:
        self._folder = folder
        self._draw = draw

    def plan(
        self, kind: JobKind, *, source: str, destination: str, files: Sequence[tuple[str, int, str]], landing: str
    ) -> Job:
        """Create and save a job for `files` (path, size, source); each lands at `landing`/`<job>`/`<path>`.

        Raises:
            NoSpace, StoreError: the job cannot be written.
        """
        number = self._draw(ID_BYTES)
        items = tuple(
            JobItem(path=path, size=size, source=come_from, landing=f"{landing}/{number}/{path}")
            for path, size, come_from in files
        )
        return self.save(
            Job(
                format=Job.FORMAT,
                version=Job.VERSION,
                requires=(),
                job=number,
                kind=kind,
                state="planned",
                source=source,
                destination=destination,
                items=items,
            )
        )

    def save(self, job: Job) -> Job:
        """Save `job` durably, and return it.

        Raises:
            NoSpace, StoreError: the job cannot be written.
        """
        durable.write_file(self._folder / f"{job.job}.json", canonical.encode(job))
        return job

    def open(self, kind: JobKind, source: str, destination: str) -> list[Job]:
        """Return the unfinished jobs between these two locations, ordered by id.

        Raises:
            StoreError: a job is damaged, so its task is unknown.
        """
        return [
            job
            for job in self.all()
            if (job.kind, job.source, job.destination) == (kind, source, destination) and job.state not in ENDED
        ]

    def all(self) -> list[Job]:
        """Return every job, including finished ones."""
        return [self._read(path) for path in durable.files_in(self._folder, "*.json")]

    def _read(self, path: Path) -> Job:
        with durable.disk_errors(path):
            data = read_regular(path)
        try:
            return _checked(canonical.decode(data, Job, name=str(path)), path)
        except IntegrityError as error:
            raise StoreError(
                f"the Globus job `{path}` is damaged: {error.message}",
                hint=f"check its task at https://app.globus.org/activity, then remove `{path}`",
            ) from error


def _checked(job: Job, path: Path) -> Job:
    """Return `job`, refusing one whose id differs from its file name or that lands outside its own folder."""
    if job.job != path.stem or not _ID.fullmatch(job.job):
        raise IntegrityError(f"it has the id `{job.job}`")
    for item in job.items:
        check_path(item.path)
        if not item.landing.endswith(f"/{job.job}/{item.path}") or "/../" in item.landing:
            raise IntegrityError(f"`{item.landing}` is not a landing path of this job")
    return job


def with_state(job: Job, state: JobState, **changes: Any) -> Job:
    """Return `job` in `state`, with `changes`."""
    changed: Job = msgspec.structs.replace(job, state=state, **changes)
    return changed
