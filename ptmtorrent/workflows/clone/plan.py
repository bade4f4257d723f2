"""The plan of a clone: the files of each listed package, asked of the hub once and kept in the journal."""

import heapq
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import HubError, PtmError
from ptmtorrent.hubs.client.rate_limiter import file_limit
from ptmtorrent.hubs.port import Described, Hub, HubFile, Listed
from ptmtorrent.model.ids import path_bytes, path_of, show_path
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.pointers import MAX_FILE_BYTES
from ptmtorrent.model.records import PlanMade
from ptmtorrent.model.text import spell_size
from ptmtorrent.state.clone_journal import COMMIT_BYTES, Journal, Run, Work
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.outcomes import Outcomes

POLL_SECONDS = 0.2
"""Longest wait before a loop looks at the stop flag again."""

IsCaptured = Callable[[Listed, str, str | None], bool]
"""Whether the store holds this package at this commit, with this hub id if the hub gives one."""

IsKnown = Callable[[str], bool]
"""Whether the store holds a file of this oid."""


class PackagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A package pinned to a commit, its files, and the answers of the hub."""

    described: Described
    files: tuple[HubFile, ...]
    answers: tuple[tuple[str, bytes], ...]

    @property
    def bytes(self) -> int:
        """Total size of the files whose size the hub gives."""
        return sum(file.size or 0 for file in self.files)


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


def plan_packages(  # noqa: PLR0913  # the ends of a pipeline
    hub: Hub,
    journal: Journal,
    run: Run,
    outcomes: Outcomes,
    *,
    is_captured: IsCaptured,
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
    with closing(outcomes), hub_threads(hub, jobs) as (pool, _):
        for work, future in _plan_ahead(journal.works(run.id, ("listed",)), hub, pool, is_captured, 2 * jobs):
            plan = _await(work, future, outcomes, stop)
            if plan is None:
                continue
            identity = plan.described.identity
            check_owner(identity)
            if is_captured(plan.described.listed, identity.commit, identity.hub_id):
                outcomes.not_needed(work)
                continue
            total += plan.bytes
            if max_bytes is not None and total > max_bytes:
                outcomes.flush()
                return journal.leave_after(run.id, work.rank or 0)
            outcomes.hub_works()
            journal.keep_plan(
                run.id, work.name, encode_plan(plan), files=len(plan.files), size=plan.bytes, requests=len(plan.answers)
            )
        outcomes.flush()
    return 0


def _plan_ahead(
    works: Iterator[Work], hub: Hub, pool: ThreadPoolExecutor, is_captured: IsCaptured, depth: int
) -> Iterator[tuple[Work, Future[PackagePlan] | None]]:
    """Yield packages in order, each with its plan requested `depth` packages ahead; None if it is captured."""
    queue: deque[tuple[Work, Future[PackagePlan] | None]] = deque()
    for work in works:
        listed = msgspec.json.decode(work.listed, type=Listed)
        captured = listed.commit is not None and is_captured(listed, listed.commit, listed.hub_id)
        queue.append((work, None if captured else pool.submit(_request_plan, hub, listed)))
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
    described = hub.session.retry(lambda: hub.describe(listed))
    files, answers = hub.session.retry(lambda: hub.files(described))
    plan = PackagePlan(described=described, files=tuple(files), answers=answers)
    if plan.bytes >= MAX_FILE_BYTES:
        raise HubError(
            f"the hub lists {spell_size(plan.bytes)} for `{described.identity.package}`, more than a package may have"
        )
    return plan


def _await(work: Work, future: Future[PackagePlan] | None, outcomes: Outcomes, stop: Stop) -> PackagePlan | None:
    if future is None:
        outcomes.not_needed(work)
        return None
    while not future.done():
        stop.raise_if_set("the clone")
        wait([future], timeout=POLL_SECONDS)
    try:
        return future.result()
    except PtmError as error:
        outcomes.failed(work, error)
        return None


def measure(hub: Hub, journal: Journal, run: Run, is_known: IsKnown, jobs: int) -> PlanMade:
    """Return the work of the run in bytes: what the journal plans, less the files that the store holds."""
    tally = journal.tally(run.id, "todo", "leased")
    to_move = 0
    seen: set[str] = set()
    largest: list[int] = []
    for work in journal.works(run.id, ("todo", "leased")):
        for file in decode_plan(work).files:
            oid = file.name_of_bytes
            if oid is not None and (oid in seen or is_known(oid)):
                continue
            if file.size == 0:
                continue
            seen.add(oid or f"{work.name}/{file.path}")
            to_move += file.size or 0
            largest = heapq.nlargest(jobs, (*largest, file.size or 0))
    return PlanMade(
        packages=tally.packages,
        files=tally.files,
        bytes=tally.bytes,
        bytes_to_move=to_move,
        requests=journal.requests(run.id) + len(seen),
        disk=to_move + min(to_move, sum(largest) + COMMIT_BYTES),
        hours=_hours(hub, len(seen)),
    )


def _hours(hub: Hub, requests: int) -> float | None:
    limit = file_limit(hub.name, hub.session.rate_limiter.quotas(urlsplit(hub.endpoint).netloc))
    return None if limit is None else limit.hours(requests)
