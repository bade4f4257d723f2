"""The port of transports: delivers extents of packs.

What a `PackTransport` delivers is untrusted: the caller hashes every object before using it. Adapters raise only
errors of this project, never retry, and return when `stop` is set.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ptmtorrent.errors import PtmError
from ptmtorrent.model.plan import Extent, PackRequest, narrow
from ptmtorrent.stop import Stop

WINDOW_BYTES = 512 << 20
"""Bytes that may be staged, besides one pack, before the caller consumes them; bounds the disk space of a fetch."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """An extent of a pack, readable at `path` from byte `start` on. The transport moved `moved` bytes for it.

    `path` is a pack in place (in a local channel) or a staging file. If `temporary`, the caller deletes the file once
    its objects are decoded.
    """

    request: PackRequest
    extent: Extent
    path: Path
    start: int
    moved: int
    source: str
    temporary: bool


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An extent that this source could not deliver, and the reason. `moved` bytes were transferred nevertheless.

    The next request to this source continues after the first `kept` bytes.
    """

    request: PackRequest
    extent: Extent
    source: str
    error: PtmError
    moved: int = 0
    kept: int = 0


class PackTransport(Protocol):
    """Delivers extents of packs, in any order.

    `whole_packs` states that this transport can only move whole packs.
    """

    name: str
    whole_packs: bool

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Delivered | Failed]:
        """Yield one outcome for every extent of every request, as soon as it is known.

        Staging files survive a kill, and the next call continues them. Bytes that are already in `staging` are not
        trusted: they are checked or fetched again.
        """
        ...


class Swarm(PackTransport, Protocol):
    """A transport whose peers may stop sending.

    Once `deliver` has ended, `partial` holds the received parts of incomplete packs.
    """

    @property
    def quiet_seconds(self) -> float:
        """Seconds since payload was last received or first requested."""
        ...

    @property
    def partial(self) -> Sequence[Delivered]:
        """Extents of incomplete packs whose pieces were all hashed; their files stay in staging."""
        ...


def regroup(failures: Iterable[Failed]) -> list[PackRequest]:
    """Return requests for the failed extents only, with the objects in them."""
    extents: dict[PackRequest, set[Extent]] = defaultdict(set)
    for failed in failures:
        extents[failed.request].add(failed.extent)
    return [narrow(request, sorted(wanted)) for request, wanted in extents.items()]
