"""Packs of which a swarm brought some pieces, completed by a server that is asked for the rest.

The swarm's file stays where it is, and the server's extents are written into its holes. Nothing is fetched twice, and
what comes out is a whole pack.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest
from ptmtorrent.transports.port import Delivered, Failed

COPY_BYTES = 1 << 20


class _Pack:
    """One pack being filled: its request, its file, and the holes that are left."""

    def __init__(self, request: PackRequest, path: Path, holes: tuple[Extent, ...]) -> None:
        self.request = request
        self.path = path
        self.holes = set(holes)
        self.moved = 0


class Filling:
    """Fills what `parts` lack of the packs of `whole`; `requests` are what a server must be asked for."""

    def __init__(self, whole: Mapping[PackId, PackRequest], parts: Iterable[Delivered]) -> None:
        here: dict[PackId, list[Delivered]] = defaultdict(list)
        for part in parts:
            here[part.request.pack].append(part)
        self._packs: dict[PackId, _Pack] = {}
        self.requests: list[PackRequest] = []
        for pack, request in whole.items():
            asked = request
            if here[pack]:
                holes = _holes(request.size, [part.extent for part in here[pack]])
                asked = PackRequest(pack=pack, size=request.size, extents=holes, objects=())
                self._packs[pack] = _Pack(request, here[pack][0].path, holes)
            self.requests.append(asked)

    def take(self, outcome: Delivered | Failed) -> Delivered | Failed | None:
        """Return what `outcome` means for its pack: whole now, failed, or nothing yet.

        Raises:
            NoSpace, StoreError: the pack's file cannot be written.
        """
        pack = self._packs.get(outcome.request.pack)
        if pack is None:
            return outcome
        whole = Extent(offset=0, length=pack.request.size)
        if isinstance(outcome, Failed):
            first_time = bool(pack.holes)
            pack.holes.clear()
            failed = Failed(request=pack.request, extent=whole, source=outcome.source, error=outcome.error)
            return failed if first_time else None
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


def _holes(size: int, here: Iterable[Extent]) -> tuple[Extent, ...]:
    holes, end = [], 0
    for extent in (*sorted(here), Extent(offset=size, length=0)):
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
            while data := source.read(min(left, COPY_BYTES)):
                target.write(data)
                left -= len(data)
        if delivered.temporary:
            delivered.path.unlink()
