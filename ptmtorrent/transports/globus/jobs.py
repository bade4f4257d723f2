"""The journal of Globus jobs: one document a job (docs/formats/globus-jobs.md), always on the disk first.

::

    planned ─► prepared ─► submitted ─► active | paused ─► landed ─► verified ─► installed
                                             └─► failed | cancelled

`prepared` holds the document of the task with its `submission_id`. It is durable before the document is posted, so
that whoever posts it again after a kill posts the same one, and the service answers with the task it has already.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ptmtorrent.disk import durable
from ptmtorrent.errors import IntegrityError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.names import check_path

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
WAITING: frozenset[JobState] = frozenset({"submitted", "active", "paused"})
ID_BYTES = 8


class JobItem(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its path in the channel, its size in bytes, where it comes from and where it lands, as collections say.

    `landing` is not where it will be read: it is renamed from there once it is known to be right.
    """

    path: str
    size: int
    source: str
    landing: str


class Job(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One job. `source` and `destination` are locations; `document` is the body that is or was posted, as it is."""

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
        """What it is called in messages: its task, where it has one."""
        return f"task `{self.task_id}`" if self.task_id else f"the transfer `{self.job}`"

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)


class Jobs:
    """The jobs kept in `folder`. One process at a time works on those of a kind: its workflow holds a lock.

    `draw` gives the ids: two homes may land in one collection, and must not land in one folder of it.
    """

    def __init__(self, folder: Path, *, draw: Callable[[int], str] = secrets.token_hex) -> None:
        self._folder = folder
        self._draw = draw

    def plan(
        self, kind: JobKind, *, source: str, destination: str, files: Sequence[tuple[str, int, str]], landing: str
    ) -> Job:
        """Plan and keep a job of `files` (path, size, source); each lands at `landing`/`<job>`/`<path>`.

        Raises:
            NoSpace, StoreError: it cannot be written.
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
        """Keep `job` as it is now; it is durable when this returns.

        Raises:
            NoSpace, StoreError: it cannot be written.
        """
        durable.write_file(self._folder / f"{job.job}.json", canonical.encode(job))
        return job

    def open(self, kind: JobKind, source: str, destination: str) -> list[Job]:
        """Return the jobs between these two places that have not ended, in the order of their ids.

        Raises:
            StoreError: one of them is damaged, and nobody knows what it asked for.
        """
        return [
            job
            for job in self.all()
            if (job.kind, job.source, job.destination) == (kind, source, destination) and job.state not in ENDED
        ]

    def all(self) -> list[Job]:
        """Return every job, ended ones too."""
        return [self._read(path) for path in durable.files_in(self._folder, "*.json")]

    def _read(self, path: Path) -> Job:
        with durable.disk_errors(path):
            data = path.read_bytes()
        try:
            return _checked(canonical.decode(data, Job, name=str(path)), path)
        except IntegrityError as error:
            raise StoreError(
                f"the Globus job `{path}` is damaged: {error.message}",
                hint=f"look for its task at https://app.globus.org/activity, then remove `{path}`",
            ) from error


def _checked(job: Job, path: Path) -> Job:
    """Refuse a document that is not the one of its name, or that would land outside its own folder."""
    if job.job != path.stem or not _ID.fullmatch(job.job):
        raise IntegrityError(f"it says that it is the job `{job.job}`")
    for item in job.items:
        check_path(item.path)
        if not item.landing.endswith(f"/{job.job}/{item.path}") or "/../" in item.landing:
            raise IntegrityError(f"`{item.landing}` is not where a file of it lands")
    return job


def with_state(job: Job, state: JobState, **changes: Any) -> Job:
    """Return `job` in another state."""
    changed: Job = msgspec.structs.replace(job, state=state, **changes)
    return changed
