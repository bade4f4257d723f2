"""The packages that a process leases from the journal, and the outcome of each: one row and one record, always.

Packages are leased, and their rows written, many at a time, so that one disk sync serves many. A lease that a killed
process did not settle expires; the package is claimed again, its files are found in the store, and its row is written.

A hub that is down fails every package alike. Failures to reach it are therefore held back until something works again;
when too many come in a row the run stops, and they count as not tried.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound, PtmError, RateLimited
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.model.ids import SnapshotId, show_path
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Result, Status
from ptmtorrent.state.clone_journal import LEASE_SECONDS, Journal, Work, WorkState

BATCH = 64
"""Packages that are leased at once."""

MAX_UNWRITTEN = 1024
"""Outcomes in memory at most."""

OUTAGE_FAILURES = 12
"""Packages in a row that cannot be reached before it counts as an outage of the hub."""

NOT_NEEDED = "this commit is in the store already"
"""Why a package needs no work."""

_OF_ONE_PACKAGE = (AuthError, NotFound, HubError, IntegrityError)


@dataclass
class Leases:
    """The leases of `owner` in one run. The holder renews them; an expired lease can be claimed by another owner."""

    journal: Journal
    run: int
    owner: str
    monotonic: Monotonic
    _claimed: deque[Work] = field(default_factory=deque)
    _renewed: float = float("-inf")
    _found_none: float = float("-inf")

    def next(self) -> Work | None:
        """Return the next package, leased; None when none is left to claim."""
        if not self._claimed:
            self._claim(self.monotonic())
        return self._claimed.popleft() if self._claimed else None

    def _claim(self, now: float) -> None:
        """Lease more packages. Once none is left, only a lease that expires can change that."""
        if now - self._found_none > LEASE_SECONDS / 4:
            self._claimed.extend(self.journal.claim_many(self.run, self.owner, now, BATCH))
            self._found_none = self._found_none if self._claimed else now

    def renew(self) -> None:
        """Extend all leases, also of packages that are not started yet, once a quarter of their time has passed."""
        now = self.monotonic()
        if now - self._renewed > LEASE_SECONDS / 4:
            self.journal.renew(self.run, self.owner, now)
            self._renewed = now


@dataclass
class Outcomes:
    """The outcomes of one run; `prefix` is that of its hub's package names.

    `note_failure` is called with the name of each package that failed, and its error. `retryable` of them failed for a
    reason that may have passed when the run is repeated. `missing` is the error of the last one that does not exist.
    """

    journal: Journal
    run: int
    prefix: str
    emit: Emit
    note_failure: Callable[[str, PtmError], None] = lambda *_: None
    retryable: int = 0
    missing: NotFound | None = None
    _held_back: list[tuple[Work, PtmError]] = field(default_factory=list)
    _unwritten: list[tuple[str, WorkState, str]] = field(default_factory=list)
    _snapshots: dict[str, SnapshotId] = field(default_factory=dict)

    def done(self, work: Work, snapshot: SnapshotId) -> None:
        """Record a package that the store has committed; the journal has it after `write`."""
        self.hub_works()
        self._snapshots[work.name] = snapshot
        self._settle(work, "ok")

    def incomplete(self, work: Work, snapshot: SnapshotId, lacking: str) -> None:
        """Record a package that the store has committed without some files, which the next clone tries again."""
        self.hub_works()
        self._snapshots[work.name] = snapshot
        self._settle(work, "error", show_path(lacking))

    def not_needed(self, work: Work, snapshot: SnapshotId | None) -> None:
        """Record a package that the store held at this commit before, as `snapshot`."""
        if snapshot is not None:
            self._snapshots[work.name] = snapshot
        self._settle(work, "notneeded", NOT_NEEDED)

    def unchanged(self, name: str) -> None:
        """Report a package that the journal keeps as unchanged since the listing before."""
        self.emit(Result(kind="package", id=f"{self.prefix}:{name}", status="notneeded", reason=NOT_NEEDED))

    def failed(self, work: Work, error: PtmError) -> None:
        """Record a package that cannot be captured.

        Raises:
            PtmError: `error` itself, when it is not about this package (a full disk, say), or when it is one of
                too many in a row that could not be reached.
        """
        if not isinstance(error, _OF_ONE_PACKAGE):
            raise error
        self.retryable += may_pass(error)
        if not isinstance(error, (Unreachable, RateLimited)):
            self.flush()
            self.note_failure(work.name, error)
            self._settle(work, status_of(error), reason_of(error))
            return
        self._held_back.append((work, error))
        if len(self._held_back) >= OUTAGE_FAILURES:
            error.hint = error.hint or "the hub seems to be down; run the same command again later to resume"
            raise error

    def hub_works(self) -> None:
        """Record what was held back: the hub works, so those failures were not an outage."""
        self.flush()

    def flush(self) -> None:
        """Record the failures held back."""
        for work, error in self._held_back:
            self._settle(work, status_of(error), reason_of(error))
        self._held_back.clear()

    def write(self) -> None:
        """Write the outcomes since the last call to the journal."""
        if self._unwritten:
            self.journal.settle_many(self.run, self._unwritten, self._snapshots)
            self._unwritten.clear()
            self._snapshots.clear()

    def close(self) -> None:
        """Write the outcomes since the last call to the journal."""
        self.write()

    def repeat_failures(self) -> None:
        """Emit again what failed in earlier processes of this run."""
        for work in self.journal.works(self.run, ("error", "impossible")):
            status: Status = "error" if work.state == "error" else "impossible"
            self.retryable += status == "error"
            self.emit(Result(kind="package", id=self._name(work), status=status, reason=work.reason))

    def _settle(self, work: Work, status: Status, reason: str = "") -> None:
        self._unwritten.append((work.name, "done" if status == "ok" else status, reason))
        if len(self._unwritten) >= MAX_UNWRITTEN:
            self.write()
        size = work.bytes if status == "ok" else 0
        self.emit(Result(kind="package", id=self._name(work), status=status, reason=reason, bytes=size))

    def _name(self, work: Work) -> str:
        return f"{self.prefix}:{work.name}"


def may_pass(error: PtmError) -> bool:
    """Return whether the same request may succeed later: the hub was not reached, or sent wrong bytes."""
    return isinstance(error, (Unreachable, RateLimited, IntegrityError))


def status_of(error: PtmError) -> Status:
    """Return the status of a package that fails with `error`."""
    return "impossible" if isinstance(error, AuthError) else "error"


def reason_of(error: PtmError) -> str:
    """Return what a record says of a package that fails with `error`."""
    return show_path(f"{error.message}; {error.hint}" if error.hint else error.message)
