"""The packages a process has leased from the journal, a batch at a time: one wait for the disk serves all of them."""

from collections import deque
from dataclasses import dataclass, field

from ptmtorrent.model.moments import Clock
from ptmtorrent.state.clone_journal import LEASE_SECONDS, Journal, Work

BATCH = 64
"""Packages leased, and settled, at once: beyond that the disk is no longer the limit."""


@dataclass
class Claims:
    """The leases of `owner` in one run. The holder renews them; an expired lease can be claimed by another owner."""

    journal: Journal
    run: int
    owner: str
    clock: Clock
    _claimed: deque[Work] = field(default_factory=deque)
    _renewed: float = float("-inf")

    def next(self) -> Work | None:
        """Return the next package to do, leased; None when there is none left to claim."""
        if not self._claimed:
            now = self.clock().timestamp()
            self._claimed.extend(self.journal.claim_many(self.run, self.owner, now, BATCH))
        return self._claimed.popleft() if self._claimed else None

    def renew(self) -> None:
        """Put off the end of all leases, also of those claimed and not begun, when a quarter of their time is over."""
        now = self.clock().timestamp()
        if now - self._renewed > LEASE_SECONDS / 4:
            self.journal.renew(self.run, self.owner, now)
            self._renewed = now
