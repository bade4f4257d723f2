"""What became of each package: one record in the journal and one event, never silence.

Records are made a batch at a time. Until then a package is leased, and what a killed process did not record is
claimed again, found in the store, and recorded.

A hub that is down fails every package alike. Failures to reach it are therefore held back until something works again;
when too many come in a row the run stops, and they count as not tried.
"""

from dataclasses import dataclass, field

from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound, PtmError, RateLimited
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.model.names import show_path
from ptmtorrent.model.records import Emit, Result, Status
from ptmtorrent.state.clone_journal import Journal, Work, WorkState
from ptmtorrent.workflows.clone.leases import BATCH

OUTAGE_FAILURES = 12
"""Packages in a row that could not be reached before it counts as an outage of the hub."""

_OF_ONE_PACKAGE = (AuthError, NotFound, HubError, IntegrityError)


@dataclass
class Outcomes:
    """The outcomes of one run; `prefix` is that of its hub's package names."""

    journal: Journal
    run: int
    prefix: str
    emit: Emit
    _held: list[tuple[Work, PtmError]] = field(default_factory=list)
    _unrecorded: list[tuple[str, WorkState, str]] = field(default_factory=list)

    def done(self, work: Work) -> None:
        """The package is in the store, committed. Nothing is in the journal before `record`, or a full batch."""
        self.went_well()
        self._settle(work, "ok")

    def not_needed(self, work: Work) -> None:
        """The store has held the package at this commit before."""
        self._settle(work, "notneeded", "this commit is in the store already")

    def failed(self, work: Work, error: PtmError) -> None:
        """The package cannot be had.

        Raises:
            PtmError: `error` itself, when it is not about this package (a full disk, say), or when it is one of
                too many in a row that could not be reached.
        """
        if not isinstance(error, _OF_ONE_PACKAGE):
            raise error
        if not isinstance(error, (Unreachable, RateLimited)):
            self.flush()
            self._settle(work, _status(error), _reason(error))
            return
        self._held.append((work, error))
        if len(self._held) >= OUTAGE_FAILURES:
            error.hint = error.hint or "the hub seems to be down; run the same command again later to go on"
            raise error

    def went_well(self) -> None:
        """The hub works: what failed before failed for its own reasons."""
        self.flush()

    def flush(self) -> None:
        """Record the failures held back."""
        for work, error in self._held:
            self._settle(work, _status(error), _reason(error))
        self._held.clear()

    def record(self) -> None:
        """Write down what became of packages since the last time."""
        if self._unrecorded:
            self.journal.settle_many(self.run, self._unrecorded)
            self._unrecorded.clear()

    def close(self) -> None:
        """Record what is not recorded."""
        self.record()

    def recall(self) -> None:
        """Say again what failed when this run was begun by an earlier process."""
        for work in self.journal.works(self.run, ("error", "impossible")):
            status: Status = "error" if work.state == "error" else "impossible"
            self.emit(Result(kind="package", id=self._name(work), status=status, reason=work.reason))

    def _settle(self, work: Work, status: Status, reason: str = "") -> None:
        self._unrecorded.append((work.name, "done" if status == "ok" else status, reason))
        if len(self._unrecorded) >= BATCH:
            self.record()
        size = work.bytes if status == "ok" else 0
        self.emit(Result(kind="package", id=self._name(work), status=status, reason=reason, bytes=size))

    def _name(self, work: Work) -> str:
        return f"{self.prefix}:{work.name}"


def _status(error: PtmError) -> Status:
    return "impossible" if isinstance(error, AuthError) else "error"


def _reason(error: PtmError) -> str:
    return show_path(f"{error.message}; {error.hint}" if error.hint else error.message)
