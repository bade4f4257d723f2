"""Run one Globus job from the state in its journal to `landed`, or to a state that ends it.

Each step is durable before the next one starts, so a run after a kill continues with the same task.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ptmtorrent.errors import AuthError, Interrupted, NotFound, PtmError, TransportError
from ptmtorrent.model.locations import parse_globus
from ptmtorrent.model.moments import Clock, read_clock
from ptmtorrent.model.text import count, spell_size
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.causes import explain
from ptmtorrent.transports.globus.hints import LOGIN_HINT, resume_hint
from ptmtorrent.transports.globus.jobs import WAITING, Job, Jobs, JobState, with_state
from ptmtorrent.transports.globus.service import Rejected, TaskStatus, TransferService
from ptmtorrent.transports.globus.wait import WaitPolicy, WaitResult, wait_for_task

MAX_ITEMS = 5_000
"""Files per task: a request body of about 2 MB."""

SYNC_CHECKSUM = 3
"""`sync_level` of the Transfer API: a file at the destination with the same checksum is not sent again."""

DEADLINE = timedelta(days=7)
LABEL_CHARACTERS = 128


class JobContext(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of a run of a job. `on_message` receives sentences, `on_bytes` the bytes transferred so far."""

    jobs: Jobs
    service: TransferService
    wait_policy: WaitPolicy
    on_message: Callable[[str], None]
    on_bytes: Callable[[int], None]
    clock: Clock = read_clock


def run_job(job: Job, context: JobContext, stop: Stop) -> Job:
    """Return `job` in state `landed`, `failed` or `cancelled`, or in its current state when `stop` is set.

    Raises:
        AuthError: a login, consent or permission is missing, or the task is inactive; the job is kept.
        TransportError: Globus cannot be reached, or the task was paused for too long; the job is kept.
    """
    if job.state == "planned":
        submission_id = context.service.new_submission_id()
        document = new_document(job, submission_id, context.clock() + DEADLINE)
        job = context.jobs.save(with_state(job, "prepared", submission_id=submission_id, document=document))
    if job.state == "prepared":
        job = _submit(job, context)
    if job.state in WAITING:
        job = _wait(job, context, stop)
    return job


def _submit(job: Job, context: JobContext) -> Job:
    """Post the document. A permanent rejection ends the job; otherwise every later run would post it again."""
    if context.clock() > datetime.fromisoformat(job.document["deadline"]):
        return context.jobs.save(with_state(job, "failed", reason="its deadline has passed"))
    try:
        task = context.service.submit(job.document)
    except (NotFound, Rejected) as error:
        return context.jobs.save(with_state(job, "failed", reason=error.message))
    job = context.jobs.save(with_state(job, "submitted", task_id=task))
    files, size = count(len(job.items), "file"), spell_size(job.bytes)
    context.on_message(f"task `{task}` was submitted: {files}, {size}; https://app.globus.org/activity/{task}")
    return job


def new_document(job: Job, submission_id: str, deadline: datetime) -> dict[str, Any]:
    """Return the body that submits `job`: checksums on, no notification mail, every relevant option explicit.

    Source: Globus Transfer API, "Task Submission".
    """
    return {
        "DATA_TYPE": "transfer",
        "submission_id": submission_id,
        "label": f"ptmtorrent {job.kind} {job.job}"[:LABEL_CHARACTERS],
        "source_endpoint": parse_globus(job.source).collection,
        "destination_endpoint": parse_globus(job.destination).collection,
        "deadline": deadline.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "verify_checksum": True,
        "sync_level": SYNC_CHECKSUM,
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


def _wait(job: Job, context: JobContext, stop: Stop) -> Job:
    tracker = _JobTracker(job, context)
    result: WaitResult | None
    try:
        result = wait_for_task(context.service, job.task_id, stop, context.wait_policy, tracker.on_change)
    except NotFound:
        reason = (
            "the service does not know the task: it deletes tasks after 30 days, and shows them to their owner only"
        )
        return context.jobs.save(with_state(tracker.job, "failed", reason=reason))
    except Interrupted:
        result = None
    job = tracker.job
    if result is None or result.end == "stopped":
        context.on_message(f"task `{job.task_id}` continues in the background; {resume_hint(job.task_id)}")
        return job
    return _end(job, context, result)


def _end(job: Job, context: JobContext, result: WaitResult) -> Job:
    match result.end:
        case "succeeded":
            return context.jobs.save(with_state(job, "landed", reason=""))
        case "failed":
            return context.jobs.save(with_state(job, "failed", reason=_failure_reason(job, context, result)))
        case "inactive":
            context.jobs.save(with_state(job, "paused"))
            raise AuthError(
                f"task `{job.task_id}` waits for a login: {result.status.nice or 'its login has expired'}",
                hint=LOGIN_HINT,
            )
        case _:
            return _give_up(job, context, result)


def _give_up(job: Job, context: JobContext, result: WaitResult) -> Job:
    seconds = context.wait_policy.stall_seconds
    reason = f"it made no progress for {seconds:.0f} seconds: {_failure_reason(job, context, result)}"
    if result.status.paused:
        context.jobs.save(with_state(job, "paused", reason=reason))
        raise TransportError(
            f"task `{job.task_id}` is paused by the administrator of a collection",
            hint="ask the administrator to resume it, then run the same command again",
        )
    with suppress(NotFound):
        context.service.cancel(job.task_id)
    return context.jobs.save(with_state(job, "cancelled", reason=reason))


def _failure_reason(job: Job, context: JobContext, result: WaitResult) -> str:
    """Return what the service reports about the task; its events are informative only, and may be missing."""
    try:
        fault = context.service.last_fault(job.task_id)
    except PtmError:
        fault = ""
    known = [explain(result.status.fatal or result.status.nice), fault]
    return "; ".join(dict.fromkeys(text for text in known if text)) or "the service gives no reason"


class _JobTracker:
    """Keeps the journal in step with the task, and reports changes."""

    def __init__(self, job: Job, context: JobContext) -> None:
        self.job = job
        self._context = context
        self._nice = ""

    def on_change(self, status: TaskStatus) -> None:
        """Record the task's new status."""
        self._context.on_bytes(min(status.bytes, self.job.bytes))
        state: JobState = "paused" if status.paused or status.status == "INACTIVE" else "active"
        if status.status in {"ACTIVE", "INACTIVE"} and self.job.state != state:
            self.job = self._context.jobs.save(with_state(self.job, state))
        if status.nice and status.faults and status.nice != self._nice:
            faults = count(status.faults, "fault")
            self._context.on_message(f"task `{self.job.task_id}` reports {faults}, the latest: {status.nice}")
        self._nice = status.nice
