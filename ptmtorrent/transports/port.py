"""The port of transports: delivering extents of packs.

What a `PackTransport` delivers is untrusted: the caller hashes every object before anything else sees it.
Adapters raise only our errors, never retry, and return when `stop` is set.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.errors import PtmError
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.stop import Stop

WINDOW_BYTES = 512 << 20
"""A transport stages no more than this, and one pack, before the caller has taken it: no fetch needs the disk twice."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """An extent of a pack, readable now at `path` from byte `start` on; `moved` bytes crossed the transport for it.

    `path` may be a pack in place (a local channel) or a staging file; `temporary` says that the caller removes it
    once its objects are decoded.
    """

    request: PackRequest
    extent: Extent
    path: Path
    start: int
    moved: int
    source: str
    temporary: bool


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An extent that this source could not deliver, and why; another transport may. `moved` bytes came all the same."""

    request: PackRequest
    extent: Extent
    source: str
    error: PtmError
    moved: int = 0


class PackTransport(Protocol):
    """Delivers extents of packs in whatever order they arrive.

    `whole_packs` tells the planner that this transport moves packs, not extents of them.
    """

    name: str
    whole_packs: bool

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Yield one outcome for every extent of every request, as they come.

        Staging files survive a kill; the next call continues them. Bytes already in `staging` are checked, or
        fetched again, never trusted.
        """
        ...


class Swarm(PackTransport, Protocol):
    """A transport whose peers may fall silent: `quiet_seconds` counts since they last sent payload.

    What came of packs that did not come whole is in `partial` once `deliver` has ended.
    """

    @property
    def quiet_seconds(self) -> float:
        """Seconds since payload last came, or since the first was asked for."""
        ...

    @property
    def partial(self) -> Sequence[Delivered]:
        """Extents whose every piece was hashed, of packs that did not come whole; their files stay in staging."""
        ...
