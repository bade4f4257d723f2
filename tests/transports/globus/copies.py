"""A simulated Transfer service that copies immediately, in the test process."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ptmtorrent.model.locations import GlobusLocation
from ptmtorrent.transports.globus.jobs import Jobs
from ptmtorrent.transports.globus.locations import LocalCollection
from ptmtorrent.transports.globus.run_job import MAX_ITEMS, JobContext
from ptmtorrent.transports.globus.service import TaskStatus
from ptmtorrent.transports.globus.transport import GlobusTransport
from ptmtorrent.transports.globus.wait import WaitPolicy

THERE = "22222222-2222-4222-8222-222222222222"
HERE = "33333333-3333-4333-8333-333333333333"


def status(word: str = "ACTIVE", **more: Any) -> TaskStatus:
    return TaskStatus(
        **{"status": word, "paused": False, "nice": "", "fatal": "", "faults": 0, "files": 0, "bytes": 0} | more
    )


class Copies:
    """Copies existing files when a document is posted; `answers` are the task's statuses before it succeeds."""

    def __init__(self, source: Path, target: Path, answers: Sequence[TaskStatus] = ()) -> None:
        self._source = source
        self._target = target
        self.answers = list(answers)
        self._complete = True
        self.posted: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.deleted: list[str] = []

    def new_submission_id(self) -> str:
        return f"submission-{len(self.posted)}"

    def submit(self, document: dict[str, Any]) -> str:
        self.posted.append(document)
        for item in document["DATA"]:
            come_from = self._source / item["source_path"].lstrip("/")
            go_to = self._target / item["destination_path"].lstrip("/")
            if come_from.exists():
                go_to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(come_from, go_to)
        return f"task-{len(self.posted)}"

    def make_folder(self, collection: str, path: str) -> bool:  # noqa: ARG002  # of the one at `target`
        folder = self._target / path.lstrip("/")
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        return is_new

    def list(self, collection: str, path: str) -> dict[str, None]:  # noqa: ARG002  # of the one at `target`
        return {entry.name: None for entry in (self._target / path.lstrip("/")).iterdir()}

    def delete(self, collection: str, paths: Sequence[str]) -> str:  # noqa: ARG002  # of the one at `target`
        for path in paths:
            shutil.rmtree(self._target / path.lstrip("/"), ignore_errors=True)
        self.deleted.extend(paths)
        return "deletion"

    def task(self, task: str) -> TaskStatus:  # noqa: ARG002  # one at a time
        return self.answers.pop(0) if self.answers else status("SUCCEEDED")

    def last_fault(self, task: str) -> str:
        return f"of {task}"

    def cancel(self, task: str) -> None:
        self.cancelled.append(task)


def copying_context(service: Copies, folder: Path, on_message: Callable[[str], None] = lambda _: None) -> JobContext:
    """Return a context whose pauses return immediately and advance the clock by their duration."""
    moments = iter(range(1_000_000))
    patience = WaitPolicy(stall_seconds=10, pause=lambda stop, _: stop.is_set(), monotonic=lambda: float(next(moments)))
    return JobContext(
        jobs=Jobs(folder), service=service, wait_policy=patience, on_message=on_message, on_bytes=lambda _: None
    )


def copying_transport(
    source: Path, target: Path, service: Copies | None = None, *, max_items: int = MAX_ITEMS
) -> GlobusTransport:
    """Return a transport from the channel `source` to a collection whose `/` is `target`."""
    context = copying_context(service or Copies(source, target), target / "jobs")
    place, here = GlobusLocation(collection=THERE, path=""), LocalCollection(collection=HERE, folder=target)
    return GlobusTransport(place, here, context, max_items=max_items)
