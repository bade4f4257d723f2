"""The packages that a process has leased from the journal, a batch at a time, so that one disk sync serves many."""

from collections import deque
from dataclasses import dataclass, field

from ptmtorrent.model.moments import Monotonic
from ptmtorrent.state.clone_journal import LEASE_SECONDS, Journal, Work

BATCH = 64
"""Packages that are leased, and settled, at once: beyond that the disk is no longer the limit."""


@dataclass
class Leases:
    """The leases of `owner` in one run. The holder renews them; an expired lease can be claimed by another owner."""

    journal: Journal
    run: int
    owner: str
    monotonic: Monotonic
    _claimed: deque[Work] = field(default_factory=deque)
    _renewed: float = float("-inf")

    def next(self) -> Work | None:
        """Return the next package, leased; None when none is left to claim."""
        if not self._claimed:
            self._claimed.extend(self.journal.claim_many(self.run, self.owner, self.monotonic(), BATCH))
        return self._claimed.popleft() if self._claimed else None

    def renew(self) -> None:
        """Extend all leases, also of packages that are not started yet, once a quarter of their time has passed."""
        now = self.monotonic()
        if now - self._renewed > LEASE_SECONDS / 4:
            self.journal.renew(self.run, self.owner, now)
            self._renewed = now
