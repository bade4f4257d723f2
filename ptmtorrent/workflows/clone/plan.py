"""The plan of a clone: the files of each listed package, asked of the hub once and kept in the journal."""

import heapq
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import HubError, NotFound, PtmError
from ptmtorrent.facts.base_models import base_models
from ptmtorrent.hubs.client.rate_limiter import file_limit
from ptmtorrent.hubs.port import Described, Hub, HubFile, Listed
from ptmtorrent.model.ids import SnapshotId, path_bytes, path_of, show_path
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.pointers import MAX_FILE_BYTES
from ptmtorrent.model.records import PlanMade
from ptmtorrent.model.text import spell_size
from ptmtorrent.state.clone_journal import COMMIT_BYTES, Journal, NewPlan, Run, Work
from ptmtorrent.state.clone_outcomes import SeenKeys, key_of
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.outcomes import Outcomes

GROUP_SECONDS = 1.0
"""Plans of about this time are written together: a crash loses no more."""

PLAN_BYTES = 4 << 20
"""Plans that are in memory at most, until they are written."""

POLL_SECONDS = 0.2
"""Longest wait before a loop looks at the stop flag again."""

FindCapture = Callable[[Listed, str, str | None], SnapshotId | None]
"""Return the snapshot that the store holds of this package at this commit, with this hub id if the hub gives one."""

IsKnown = Callable[[str], bool]
"""Whether the store holds a file of this oid."""


class PackagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A package pinned to a commit, its files, and the answers of the hub."""

    described: Described
    files: tuple[HubFile, ...]
    answers: tuple[tuple[str, bytes], ...]

    @property
    def bytes(self) -> int:
        """Total size of the files to have whose size the hub gives."""
        return sum(file.size or 0 for file in self.files if file.missing is None)


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as the journal keeps it. `odd` are the paths that are not UTF-8, by index of their file."""

    plan: PackagePlan
    odd: dict[int, bytes]


def encode_plan(plan: PackagePlan) -> bytes:
    """Return the bytes of `plan` in the journal."""
    shown = [show_path(file.path) for file in plan.files]
    odd = {
        number: path_bytes(file.path)
        for number, (file, text) in enumerate(zip(plan.files, shown, strict=True))
        if text != file.path
    }
    files = [
        msgspec.structs.replace(file, path=shown[number]) if number in odd else file
        for number, file in enumerate(plan.files)
    ]
    kept = _Kept(plan=msgspec.structs.replace(plan, files=tuple(files)) if odd else plan, odd=odd)
    return zlib.compress(msgspec.msgpack.encode(kept), 1)


def decode_plan(work: Work) -> PackagePlan:
    """Return the plan that the journal keeps with `work`."""
    kept = msgspec.msgpack.decode(zlib.decompress(work.plan or b""), type=_Kept)
    if not kept.odd:
        return kept.plan
    files = [
        msgspec.structs.replace(file, path=path_of(kept.odd[number])) if number in kept.odd else file
        for number, file in enumerate(kept.plan.files)
    ]
    return msgspec.structs.replace(kept.plan, files=tuple(files))


Held = Callable[[HubFile, PackagePlan], int]
"""Returns the bytes of a file that the spool has."""


@contextmanager
def hub_threads(hub: Hub, jobs: int) -> Iterator[tuple[ThreadPoolExecutor, Stop]]:
    """Yield `jobs` threads and the stop flag that ends their waits; it is set on every exit from the context."""
    with hub.session.halting() as halt:
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="hub")
        try:
            yield pool, halt
        finally:
            halt.set()
            pool.shutdown(cancel_futures=True)


def declared_bases(listed: Listed) -> tuple[str, ...]:
    """Return the names of the packages, on the same hub, that `listed` declares as its bases, closest first."""
    return tuple(name for name in base_models(listed.tags, listed.raw) if name != listed.name)


@dataclass
class _Pace:
    """Plans and outcomes that are written together, about once a second: one sync serves many."""

    journal: Journal
    run: int
    outcomes: Outcomes
    monotonic: Monotonic
    _plans: list[NewPlan] = field(default_factory=list)
    _bytes: int = 0
    _written: float = float("-inf")

    def keep(self, work: Work, plan: PackagePlan) -> None:
        """Keep the plan of a package; the journal has it after `write`."""
        data, bases = encode_plan(plan), declared_bases(plan.described.listed)
        self._plans.append(NewPlan(work.name, data, len(plan.files), plan.bytes, len(plan.answers), bases))
        self._bytes += len(data)

    def write_if_due(self) -> None:
        """Write what is kept if a second has passed, or if it takes much memory."""
        if self._bytes >= PLAN_BYTES or self.monotonic() - self._written >= GROUP_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is kept."""
        if self._plans:
            self.journal.keep_plans(self.run, self._plans)
        self.outcomes.write()
        self._plans.clear()
        self._bytes, self._written = 0, self.monotonic()

    close = write


def plan_packages(  # noqa: PLR0913  # the ends of a pipeline
    hub: Hub,
    journal: Journal,
    run: Run,
    outcomes: Outcomes,
    *,
    find_capture: FindCapture,
    check_owner: Callable[[Identity], None],
    max_bytes: int | None,
    jobs: int,
    stop: Stop,
) -> int:
    """Ask the hub for the files of every listed package, in order, until they would exceed `max_bytes`.

    Returns the number of packages left out for that. A package that fails becomes a record; the hub is not asked about
    a package whose commit the store holds.
    """
    total = journal.tally(run.id, "todo", "leased", "done", "notneeded", "error", "impossible").bytes
    pace = _Pace(journal, run.id, outcomes, hub.session.monotonic)
    with closing(pace), hub_threads(hub, jobs) as (pool, _):
        for work, future in _plan_ahead(journal.works(run.id, ("listed",)), hub, pool, find_capture, 2 * jobs):
            pace.write_if_due()
            plan = _await(work, future, outcomes, stop)
            if plan is None:
                continue
            identity = plan.described.identity
            check_owner(identity)
            captured = find_capture(plan.described.listed, identity.commit, identity.hub_id)
            if captured is not None:
                hub.release(plan.described)
                outcomes.not_needed(work, captured)
                continue
            total += plan.bytes
            if max_bytes is not None and total > max_bytes:
                outcomes.flush()
                pace.write()
                return journal.leave_after(run.id, work.rank or 0)
            outcomes.hub_works()
            pace.keep(work, plan)
        outcomes.flush()
    return 0


Answer = Future[PackagePlan] | SnapshotId
"""A plan that was requested, or the snapshot of a package that needs none."""


def _plan_ahead(
    works: Iterator[Work], hub: Hub, pool: ThreadPoolExecutor, find_capture: FindCapture, depth: int
) -> Iterator[tuple[Work, Answer]]:
    """Yield packages in order, each with its plan requested `depth` packages ahead, unless it is captured."""
    queue: deque[tuple[Work, Answer]] = deque()
    for work in works:
        listed = msgspec.json.decode(work.listed, type=Listed)
        captured = None if listed.commit is None else find_capture(listed, listed.commit, listed.hub_id)
        queue.append((work, captured or pool.submit(_request_plan, hub, listed)))
        if len(queue) > depth:
            yield queue.popleft()
    yield from queue


def _request_plan(hub: Hub, listed: Listed) -> PackagePlan:
    with translate_errors(f"{hub.prefix}:{listed.name}"):
        return _plan(hub, listed)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn an unexpected exception into an error of the package: it must not end a run of 300,000."""
    try:
        yield
    except PtmError:
        raise
    except Exception as error:
        raise HubError(f"`{name}` hit an error in ptmtorrent itself: {type(error).__name__}: {error}") from error


def _plan(hub: Hub, listed: Listed) -> PackagePlan:
    what = f"`{hub.prefix}:{listed.name}`"
    described = hub.session.retry(lambda: hub.describe(listed), what=what)
    files, answers = hub.session.retry(lambda: hub.files(described), what=f"the files of {what}")
    plan = PackagePlan(described=described, files=tuple(files), answers=answers)
    if plan.bytes >= MAX_FILE_BYTES:
        raise HubError(
            f"the hub lists {spell_size(plan.bytes)} for `{described.identity.package}`, more than a package may have"
        )
    return plan


def _await(work: Work, answer: Answer, outcomes: Outcomes, stop: Stop) -> PackagePlan | None:
    if isinstance(answer, str):
        outcomes.not_needed(work, answer)
        return None
    while not answer.done():
        stop.raise_if_set("the clone")
        wait([answer], timeout=POLL_SECONDS)
    try:
        return answer.result()
    except PtmError as error:
        outcomes.missing = error if isinstance(error, NotFound) else outcomes.missing
        outcomes.failed(work, error)
        return None


class DiskNeed(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes needed beyond what is there: in the store, and at the same time in the spool. Compression is not foreseen.

    What is half here takes no more of the spool.
    """

    store: int
    spool: int

    @property
    def bytes(self) -> int:
        """Both together."""
        return max(0, self.store + self.spool)


def disk_need(stored: int, held: int, largest: Sequence[int]) -> DiskNeed:
    """Return what storing `stored` bytes takes, of which the spool has `held`, with the `largest` files at a time."""
    return DiskNeed(store=stored, spool=min(stored, sum(largest) + COMMIT_BYTES) - held)


def measure(  # noqa: PLR0913, PLR0917  # what a run has
    hub: Hub, journal: Journal, run: Run, is_known: IsKnown, held: Held, jobs: int
) -> tuple[PlanMade, DiskNeed]:
    """Return the work of the run in bytes, and the disk it takes.

    That is what the journal plans, less the files that the store holds and what the spool has of others.
    """
    tally = journal.tally(run.id, "todo", "leased")
    stored = here = requests = 0
    largest: list[int] = []
    with SeenKeys() as seen:
        for work in journal.works(run.id, ("todo", "leased")):
            plan = decode_plan(work)
            for file in plan.files:
                oid = file.name_of_bytes
                if (
                    file.size == 0
                    or file.missing is not None
                    or not seen.add(key_of(oid or f"{work.name}/{file.path}"))
                ):
                    continue
                if oid is not None and is_known(oid):
                    continue
                size = file.size or 0
                part = min(size, held(file, plan))
                requests += part < size or file.size is None
                stored, here = stored + size, here + part
                largest = heapq.nlargest(jobs, (*largest, size))
    need = disk_need(stored, here, largest)
    made = PlanMade(
        packages=tally.packages,
        files=tally.files,
        bytes=tally.bytes,
        bytes_to_move=stored - here,
        requests=journal.requests(run.id) + requests,
        disk=need.bytes,
        hours=_hours(hub, requests),
    )
    return made, need


def _hours(hub: Hub, requests: int) -> float | None:
    limit = file_limit(hub.name, hub.session.rate_limiter.quotas(urlsplit(hub.endpoint).netloc))
    return None if limit is None else limit.hours(requests)
