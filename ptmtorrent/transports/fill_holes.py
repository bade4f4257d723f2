"""Completes packs of which a swarm delivered some pieces with extents from a server.

The extents of the server are written into the holes of the swarm's file. No byte is fetched twice, and the result is a
whole pack.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.transports.port import Delivered, Failed

CHUNK_BYTES = 1 << 20


class _PartialPack:
    """A pack that is being completed: its request, its file, and the remaining holes."""

    def __init__(self, request: PackRequest, path: Path, holes: tuple[Extent, ...]) -> None:
        self.request = request
        self.path = path
        self.holes = set(holes)
        self.moved = 0


class HoleFiller:
    """Completes the packs of `whole`, of which `parts` were delivered; `requests` are the requests for the server."""

    def __init__(self, whole: Mapping[PackId, PackRequest], parts: Iterable[Delivered]) -> None:
        present: dict[PackId, list[Delivered]] = defaultdict(list)
        for part in parts:
            present[part.request.pack].append(part)
        self._packs: dict[PackId, _PartialPack] = {}
        self.requests: list[PackRequest] = []
        for pack, request in whole.items():
            needed = request
            if present[pack]:
                holes = _find_holes(request.size, [part.extent for part in present[pack]])
                needed = PackRequest(pack=pack, size=request.size, extents=holes, objects=())
                self._packs[pack] = _PartialPack(request, present[pack][0].path, holes)
            self.requests.append(needed)

    def take(self, outcome: Delivered | Failed) -> Delivered | Failed | None:
        """Record an outcome of the server; return the outcome of its pack, None while extents are missing.

        Raises:
            NoSpace, StoreError: the pack's file cannot be written.
        """
        pack = self._packs.get(outcome.request.pack)
        if pack is None:
            return outcome
        whole = Extent(offset=0, length=pack.request.size)
        if isinstance(outcome, Failed):
            is_first = bool(pack.holes)
            pack.holes.clear()
            failed = Failed(request=pack.request, extent=whole, source=outcome.source, error=outcome.error)
            return failed if is_first else None
        if outcome.extent not in pack.holes:
            return None
        _copy(outcome, pack.path)
        pack.holes.remove(outcome.extent)
        pack.moved += outcome.moved
        if pack.holes:
            return None
        return Delivered(
            request=pack.request,
            extent=whole,
            path=pack.path,
            start=0,
            moved=pack.moved,
            source=outcome.source,
            temporary=True,
        )


def _find_holes(size: int, present: Iterable[Extent]) -> tuple[Extent, ...]:
    holes, end = [], 0
    for extent in (*sorted(present), Extent(offset=size, length=0)):
        if extent.offset > end:
            holes.append(Extent(offset=end, length=extent.offset - end))
        end = max(end, extent.end)
    return tuple(holes)


def _copy(delivered: Delivered, path: Path) -> None:
    with disk_errors(path, delivered.extent.length):
        with path.open("r+b") as target, delivered.path.open("rb") as source:
            source.seek(delivered.start)
            target.seek(delivered.extent.offset)
            left = delivered.extent.length
            while data := source.read(min(left, CHUNK_BYTES)):
                target.write(data)
                left -= len(data)
        if delivered.temporary:
            delivered.path.unlink()
