"""Carry one job from wherever its journal says it is to `landed`, or to the state that ends it.

Every step is durable before the next is taken, so whoever calls this again after a kill goes on with the same task.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from ptmtorrent.errors import AuthError, NotFound, PtmError, TransportError
from ptmtorrent.model.moments import Clock, read_clock
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.hints import LOGIN_HINT, resume_hint
from ptmtorrent.transports.globus.jobs import WAITING, Job, Jobs, JobState, moved_to
from ptmtorrent.transports.globus.locations import parse_place
from ptmtorrent.transports.globus.service import Rejected, TaskStatus
from ptmtorrent.transports.globus.wait import Clerk, Ended, Patience, wait_for

MAX_ITEMS = 5_000
"""Files of one task: a body of about 2 MB."""

CHECKSUMS = 3
"""`sync_level` of the Transfer API: what is there with the same checksum is not sent again, anything else is."""

DEADLINE = timedelta(days=7)
LABEL_CHARACTERS = 128


class Service(Clerk, Protocol):
    """What carrying needs of the Transfer service."""

    def new_submission_id(self) -> str:
        """Return an id that makes one task of however many posts."""
        ...

    def submit(self, document: dict[str, Any]) -> str:
        """Post the document of a task, and return the task's id."""
        ...

    def last_fault(self, task: str) -> str:
        """Return what the newest error event of a task says."""
        ...

    def cancel(self, task: str) -> None:
        """Ask for the end of a task."""
        ...


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is carried with. `told` hears sentences; `counted` how many bytes of the job are there."""

    jobs: Jobs
    service: Service
    patience: Patience
    told: Callable[[str], None]
    counted: Callable[[int], None]
    clock: Clock = read_clock


def carry(job: Job, desk: Desk, stop: Stop) -> Job:
    """Bring `job` to `landed`, `failed` or `cancelled`, or leave it where it is when `stop` is set.

    Raises:
        AuthError: a login, a consent or a permission is missing, or the task waits for one; the job is kept.
        TransportError: Globus cannot be reached, or the task was paused for too long; the job is kept.
    """
    if job.state == "planned":
        number = desk.service.new_submission_id()
        document = new_document(job, number, desk.clock() + DEADLINE)
        job = desk.jobs.save(moved_to(job, "prepared", submission_id=number, document=document))
    if job.state == "prepared":
        job = _submit(job, desk)
    if job.state in WAITING:
        job = _wait(job, desk, stop)
    return job


def _submit(job: Job, desk: Desk) -> Job:
    """Post the document; what will never be accepted ends the job, or it would be posted for ever."""
    if desk.clock() > datetime.fromisoformat(job.document["deadline"]):
        return desk.jobs.save(moved_to(job, "failed", reason="its deadline has passed"))
    try:
        task = desk.service.submit(job.document)
    except (NotFound, Rejected) as error:
        return desk.jobs.save(moved_to(job, "failed", reason=error.message))
    return desk.jobs.save(moved_to(job, "submitted", task_id=task))


def new_document(job: Job, submission_id: str, deadline: datetime) -> dict[str, Any]:
    """Return the body that submits `job`: checksums on, no mail to anybody, nothing left to a default that differs.

    Source: Globus Transfer API, "Task Submission".
    """
    return {
        "DATA_TYPE": "transfer",
        "submission_id": submission_id,
        "label": f"ptmtorrent {job.kind} {job.job}"[:LABEL_CHARACTERS],
        "source_endpoint": parse_place(job.source).collection,
        "destination_endpoint": parse_place(job.destination).collection,
        "deadline": deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "verify_checksum": True,
        "sync_level": CHECKSUMS,
        "encrypt_data": False,
        "preserve_timestamp": False,
        "fail_on_quota_errors": True,
        "skip_source_errors": False,
        "notify_on_succeeded": False,
        "notify_on_failed": False,
        "notify_on_inactive": False,
        "DATA": [
            {
                "DATA_TYPE": "transfer_item",
                "source_path": item.source,
                "destination_path": item.landing,
                "recursive": False,
            }
            for item in job.items
        ],
    }


def _wait(job: Job, desk: Desk, stop: Stop) -> Job:
    listener = _Listener(job, desk)
    try:
        ended = wait_for(desk.service, job.task_id, stop, desk.patience, listener.told)
    except NotFound:
        reason = (
            "the service knows no such task: it forgets them after 30 days, and shows them to their own login alone"
        )
        return desk.jobs.save(moved_to(listener.job, "failed", reason=reason))
    job = listener.job
    match ended.end:
        case "succeeded":
            return desk.jobs.save(moved_to(job, "landed", reason=""))
        case "failed":
            return desk.jobs.save(moved_to(job, "failed", reason=_why(job, desk, ended)))
        case "inactive":
            desk.jobs.save(moved_to(job, "paused"))
            raise AuthError(
                f"task `{job.task_id}` waits for you: {ended.status.nice or 'its login has expired'}", hint=LOGIN_HINT
            )
        case "stuck":
            return _give_up(job, desk, ended)
        case _:
            desk.told(f"task `{job.task_id}` goes on without you; {resume_hint(job.task_id)}")
            return job


def _give_up(job: Job, desk: Desk, ended: Ended) -> Job:
    why = f"it made no progress for {desk.patience.seconds:.0f} seconds: {_why(job, desk, ended)}"
    if ended.status.paused:
        desk.jobs.save(moved_to(job, "paused", reason=why))
        raise TransportError(
            f"task `{job.task_id}` is paused by a collection's administrator",
            hint="ask them; the same command goes on from there once it is resumed",
        )
    with suppress(NotFound):
        desk.service.cancel(job.task_id)
    return desk.jobs.save(moved_to(job, "cancelled", reason=why))


def _why(job: Job, desk: Desk, ended: Ended) -> str:
    """Return what is known of a task's trouble; events are for people, and may be missing."""
    try:
        fault = desk.service.last_fault(job.task_id)
    except PtmError:
        fault = ""
    known = [ended.status.fatal or ended.status.nice, fault]
    return "; ".join(dict.fromkeys(word for word in known if word)) or "the service does not say why"


class _Listener:
    """Keeps the journal up with a task, and tells of what changes."""

    def __init__(self, job: Job, desk: Desk) -> None:
        self.job = job
        self._desk = desk
        self._nice = ""

    def told(self, status: TaskStatus) -> None:
        """Hear of the task as it is now."""
        self._desk.counted(min(status.bytes, self.job.bytes))
        state: JobState = "paused" if status.paused or status.status == "INACTIVE" else "active"
        if status.status in {"ACTIVE", "INACTIVE"} and self.job.state != state:
            self.job = self._desk.jobs.save(moved_to(self.job, state))
        if status.nice and status.faults and status.nice != self._nice:
            self._desk.told(f"task `{self.job.task_id}` has met {status.faults} faults, the last: {status.nice}")
        self._nice = status.nice
