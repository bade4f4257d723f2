"""The estimate of a clone: what the listing of a hub states, with no request beside those of the listing itself.

A page of a listing describes up to a thousand packages, so that a hub of any size is estimated in minutes; the exact
plan (`plan`) asks for the files of every package. Nothing is written.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

import msgspec

from ptmtorrent.errors import NotFound, PtmError
from ptmtorrent.hubs.client.rate_limiter import hours_of
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.records import Emit, PlanMade, Result, Status
from ptmtorrent.state.clone_outcomes import SeenKeys, key_of
from ptmtorrent.workflows.clone.list import read_pages
from ptmtorrent.workflows.clone.outcomes import NOT_NEEDED, reason_of, status_of
from ptmtorrent.workflows.clone.plan import disk_need, translate_errors

IsHere = Callable[[Listed], bool]
"""Whether the store holds the package at the commit that it is listed with."""


class _Row(msgspec.Struct, frozen=True):
    """What is kept of a listed package. `status` is set if it is not cloned."""

    name: str
    downloads: int | None
    status: Status | None = None
    error: PtmError | None = None
    files: int | None = None
    bytes: int | None = None
    calls: int | None = None

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Most downloads first, then by name, as a clone ranks them."""
        return self.downloads is None, -(self.downloads or 0), self.name


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that was estimated; packages that fail, that are here, and that were left out for `--max-bytes`.

    `missing` is the error of the last one that does not exist.
    """

    made: PlanMade
    failed: int
    not_needed: int
    left_out: int
    missing: NotFound | None


def estimate(  # noqa: PLR0913  # the ends of a pipeline
    hub: Hub,
    query: Query,
    *,
    wanted: Callable[[Listed], bool],
    is_here: IsHere,
    max_bytes: int | None,
    jobs: int,
    emit: Emit,
) -> Estimate:
    """Read the listing of `query`, and return what cloning it would take, as far as the listing says.

    A record is emitted for each package that is here already or cannot be had.

    Raises:
        HubError, RateLimited: the hub cannot be listed, or is down.
    """
    pages = Counter[str]()
    with SeenKeys() as seen:
        rows = (_row(hub, listed, is_here) for listed in _listed_once(hub, query, wanted, seen, pages))
        total = _Total()
        left_out = 0
        for row in _ranked(rows, query.limit, everything=max_bytes is None):
            if left_out or (
                max_bytes is not None and row.status is None and total.bytes + (row.bytes or 0) > max_bytes
            ):
                left_out += 1
                continue
            total.add(row, jobs)
            if row.status is not None:
                reason = NOT_NEEDED if row.error is None else reason_of(row.error)
                emit(Result(kind="package", id=f"{hub.prefix}:{row.name}", status=row.status, reason=reason))
    return Estimate(
        made=total.plan(hub, pages["read"]),
        failed=total.failed,
        not_needed=total.not_needed,
        left_out=left_out,
        missing=total.missing,
    )


def _listed_once(
    hub: Hub, query: Query, wanted: Callable[[Listed], bool], seen: SeenKeys, pages: Counter[str]
) -> Iterator[Listed]:
    """Yield the packages of the listing; one that moved to a second page while it was read is yielded once."""
    for page in read_pages(hub, query, wanted):
        pages["read"] += 1
        yield from (listed for listed in page.packages if seen.add(key_of(listed.name)))


def _ranked(rows: Iterable[_Row], limit: int | None, *, everything: bool) -> Iterable[_Row]:
    """Return the rows that count, in order where the order decides; otherwise none is kept in memory."""
    if limit is not None:
        return heapq.nsmallest(limit, rows, key=lambda row: row.rank)
    return rows if everything else sorted(rows, key=lambda row: row.rank)


def _row(hub: Hub, listed: Listed, is_here: IsHere) -> _Row:
    if listed.commit is not None and is_here(listed):
        return _Row(listed.name, listed.downloads, "notneeded")
    try:
        with translate_errors(f"{hub.prefix}:{listed.name}"):
            said = hub.foresee(listed)
    except PtmError as error:
        return _Row(listed.name, listed.downloads, status_of(error), error)
    return _Row(listed.name, listed.downloads, None, None, said.files, said.bytes, said.calls)


class _Total:
    """The sums of an estimate."""

    def __init__(self) -> None:
        self.packages = self.files = self.bytes = self.calls = 0
        self.unknown_files = self.unknown_bytes = 0
        self.failed = self.not_needed = 0
        self.missing: NotFound | None = None
        self._largest: list[int] = []

    def add(self, row: _Row, jobs: int) -> None:
        """Add a package."""
        if row.status is not None:
            self.not_needed += row.status == "notneeded"
            self.failed += row.status != "notneeded"
            self.missing = row.error if isinstance(row.error, NotFound) else self.missing
            return
        self.packages += 1
        self.files += row.files or 0
        self.bytes += row.bytes or 0
        self.calls += row.calls or 0
        self.unknown_files += row.files is None
        self.unknown_bytes += row.bytes is None
        self._largest = heapq.nlargest(jobs, (*self._largest, row.bytes or 0))

    def plan(self, hub: Hub, requests: int) -> PlanMade:
        """Return the plan; `requests` were sent to list the packages."""
        stated = hub.session.rate_limiter.quotas(urlsplit(hub.endpoint).netloc)
        quotas = {**hub.quotas, **stated}
        hours = hours_of(hub.name, quotas, calls=self.calls, files=self.files)
        return PlanMade(
            packages=self.packages,
            files=self.files,
            bytes=self.bytes,
            bytes_to_move=self.bytes,
            requests=self.calls + self.files,
            disk=disk_need(self.bytes, 0, self._largest).bytes,
            hours=hours,
            requests_to_plan=requests,
            estimated=True,
            unknown_bytes=self.unknown_bytes,
            unknown_files=self.unknown_files,
        )
