"""What transports left of packs that none of them completed, in the form of each, for any of them to continue.

A swarm leaves a sparse file at the pack's path in the channel, a server one file for each extent with the first bytes
of it. `Continuing` requests from a transport only what neither has; `gather` gives a swarm the bytes of a server.
Nothing of this is trusted: objects are hashed when they are decoded, and pieces by the swarm.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_errors, ensure_dir, open_regular, write_all
from ptmtorrent.disk.partial import unseal
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest, Plan, staged_extent, staging_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed, PackTransport

BLOCK_BYTES = 4096
"""A sparse file has whole blocks; a part of one in it would pass for the whole."""

COPY_BYTES = 1 << 20

Outcome = Delivered | Failed


class Piece(msgspec.Struct, frozen=True, order=True):
    """Bytes of a pack that are here: `extent` of it, in the file `path` from byte `start` on."""

    extent: Extent
    path: Path
    start: int


def staged_extents(staging: Path) -> dict[PackId, tuple[Extent, ...]]:
    """Return the extents that have a file in the folder `staging`, by pack, in order."""
    found: dict[PackId, list[Extent]] = {}
    if not staging.is_dir():
        return {}
    with disk_errors(staging):
        names = [path.name for path in staging.iterdir()]
    for pack, extent in filter(None, map(staged_extent, names)):
        found.setdefault(pack, []).append(extent)
    return {pack: tuple(sorted(extents)) for pack, extents in found.items()}


def held_bytes(plan: Plan, staging: Path) -> int:
    """Return how many of the bytes of `plan` earlier runs left in `staging`."""
    begun = Begun(staging)
    return sum(
        piece.extent.length
        for request in (plan.requests if begun else ())
        if (pieces := begun.pieces(request))
        for extent in request.extents
        for piece in _inside(pieces, extent)
    )


class Begun:
    """The bytes of packs that are in the folder `staging`, as they were when this was made."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._parts = staged_extents(staging)
        self._has_packs = (staging / "packs").is_dir()

    def pieces(self, request: PackRequest) -> list[Piece]:
        """Return what there is of a pack, disjoint and in order."""
        found: list[Piece] = []
        if self._has_packs:
            path = self._staging / pack_path(request.pack)
            found += [Piece(extent, path, extent.offset) for extent in _data_of(path, request.size)]
        for extent in self._parts.get(request.pack, ()):
            path = staging_path(self._staging, request.pack, extent)
            length = min(_size_of(path), extent.length, request.size - extent.offset)
            if length > 0:
                found.append(Piece(Extent(offset=extent.offset, length=length), path, 0))
        return _disjoint(found)

    def is_part(self, request: PackRequest) -> bool:
        """Return whether a part of a pack is here, and not all of it."""
        return 0 < sum(piece.extent.length for piece in self.pieces(request)) < request.size

    def __bool__(self) -> bool:
        """Return whether anything may be here."""
        return self._has_packs or bool(self._parts)


class Continuing:
    """Requests from `inner` what `staging` lacks, and delivers extents that are put together of both.

    An extent of which only its own file was begun is left to `inner`, if that `resumes` such files itself.
    """

    def __init__(self, inner: PackTransport, *, resumes: bool) -> None:
        self.name = inner.name
        self.whole_packs = inner.whole_packs
        self._inner = inner
        self._resumes = resumes

    def deliver(self, requests: Sequence[PackRequest], staging: Path, stop: Stop) -> Iterator[Outcome]:
        """Yield one outcome for every extent; see `PackTransport.deliver`."""
        begun = Begun(staging)
        if not begun:
            yield from self._inner.deliver(requests, staging, stop)
            return
        of = {request.pack: request for request in requests}
        mixes = {request.pack: self._mixes(request, begun, staging) for request in requests}
        for mix in [mix for found in mixes.values() for mix in found if not mix.holes]:
            yield mix.assemble(staging, self.name)
            _remove_used(mixes[mix.request.pack], staging)
        needed = [_without(request, mixes[request.pack]) for request in requests]
        for outcome in self._inner.deliver([request for request in needed if request.extents], staging, stop):
            pack = outcome.request.pack
            concerned = next((mix for mix in mixes[pack] if outcome.extent in mix.holes), None)
            if concerned is None:
                yield msgspec.structs.replace(outcome, request=of[pack])
            elif (whole := concerned.take(outcome, staging)) is not None:
                yield whole
                _remove_used(mixes[pack], staging)

    def _mixes(self, request: PackRequest, begun: Begun, staging: Path) -> "list[_Mix]":
        pieces = begun.pieces(request)
        found: list[_Mix] = []
        for extent in request.extents if pieces else ():
            own = staging_path(staging, request.pack, extent)
            mine = _inside(pieces, extent)
            if mine and mine[0].path != own:
                mine = [piece for piece in mine if piece.path != own]  # its own file can be continued, not moved
            mix = _Mix(request, extent, mine)
            if mine and not (self._resumes and mix.holes and all(piece.path == own for piece in mine)):
                found.append(mix)
        return found


@dataclass
class _Mix:
    """An extent that is put together of `pieces` that are here and of what comes for its `holes`."""

    request: PackRequest
    extent: Extent
    pieces: list[Piece]
    holes: set[Extent] = field(init=False)
    moved: int = 0
    failed: bool = False
    done: bool = False

    def __post_init__(self) -> None:
        self.holes = set(_holes(self.extent, [piece.extent for piece in self.pieces]))

    def take(self, outcome: Outcome, staging: Path) -> Outcome | None:
        """Take the outcome of a hole; return that of the extent with the last one, or the first failure."""
        self.moved += outcome.moved
        self.holes.remove(outcome.extent)
        if isinstance(outcome, Failed):
            again, self.failed = self.failed, True
            return None if again else self._failure(outcome)
        self.pieces.append(Piece(outcome.extent, outcome.path, outcome.start))
        return None if self.holes or self.failed else self.assemble(staging, outcome.source)

    def assemble(self, staging: Path, source: str) -> Delivered:
        """Write the extent to its own file, in order, so that a kill leaves its first bytes."""
        target = staging_path(staging, self.request.pack, self.extent)
        pieces = sorted(self.pieces)
        own = pieces[0].extent.length if pieces[0].path == target else 0
        with disk_errors(target, self.extent.length):
            if not own:
                target.unlink(missing_ok=True)
            unseal(target)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.ftruncate(descriptor, own)
                for piece in pieces[bool(own) :]:
                    _copy(piece, descriptor, piece.extent.offset - self.extent.offset)
            finally:
                os.close(descriptor)
        self.done = True
        return Delivered(
            request=self.request,
            extent=self.extent,
            path=target,
            start=0,
            moved=self.moved,
            source=source,
            temporary=True,
        )

    def _failure(self, outcome: Failed) -> Failed:
        return msgspec.structs.replace(outcome, request=self.request, extent=self.extent, moved=self.moved, kept=0)


def _without(request: PackRequest, mixes: Sequence[_Mix]) -> PackRequest:
    """Return a request for what is not here of the extents of `mixes`, and for the other extents as they are."""
    if not mixes:
        return request
    mixed = {mix.extent for mix in mixes}
    extents = [extent for extent in request.extents if extent not in mixed]
    extents += [hole for mix in mixes for hole in mix.holes]
    return msgspec.structs.replace(request, extents=tuple(sorted(extents)), objects=())


def _remove_used(mixes: Sequence[_Mix], staging: Path) -> None:
    """Remove the files that all extents of a pack were put together of, except the extents themselves."""
    if not all(mix.done for mix in mixes):
        return
    kept = {staging_path(staging, mix.request.pack, mix.extent) for mix in mixes}
    for path in {piece.path for mix in mixes for piece in mix.pieces} - kept:
        if path.is_relative_to(staging):
            with disk_errors(path):
                path.unlink(missing_ok=True)


def gather(requests: Iterable[PackRequest], staging: Path) -> None:
    """Move what servers left of whole packs into the files of a swarm, as far as those lack it.

    Raises:
        NoSpace, StoreError: they cannot be written.
    """
    parts = staged_extents(staging)
    for request in requests:
        extents = [extent for extent in parts.get(request.pack, ()) if extent.end <= request.size]
        if not extents:
            continue
        target = staging / pack_path(request.pack)
        ensure_dir(target.parent)
        for extent in extents:
            path = staging_path(staging, request.pack, extent)
            with disk_errors(target, extent.length):
                _move(path, extent, target, request.size)


def _move(path: Path, extent: Extent, target: Path, size: int) -> None:
    """Copy the whole blocks of a part of a pack into the holes of `target`, and remove the part."""
    end = extent.offset + min(_size_of(path), extent.length)
    first = -(-extent.offset // BLOCK_BYTES) * BLOCK_BYTES
    last = end if end == size else end // BLOCK_BYTES * BLOCK_BYTES
    if first < last:
        wanted = Extent(offset=first, length=last - first)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            for hole in _holes(wanted, _data_of(target, size)):
                _copy(Piece(hole, path, hole.offset - extent.offset), descriptor, hole.offset)
        finally:
            os.close(descriptor)
    path.unlink(missing_ok=True)


def _data_of(path: Path, size: int) -> tuple[Extent, ...]:
    """Return the parts of a sparse file that hold data; none if it is not a file of at most `size` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ()
    found: list[Extent] = []
    try:
        status = os.fstat(descriptor)
        end = status.st_size if stat.S_ISREG(status.st_mode) and status.st_size <= size else 0
        at = 0
        while at < end:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
            found.append(Extent(offset=start, length=at - start))
    except OSError as error:  # ENXIO: a hole reaches to the end
        if error.errno != errno.ENXIO:
            return ()
    finally:
        os.close(descriptor)
    return tuple(found)


def _size_of(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _disjoint(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces in order, without what an earlier one has."""
    chosen: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.extent.offset, -piece.extent.length)):
        first = max(piece.extent.offset, chosen[-1].extent.end) if chosen else piece.extent.offset
        if first < piece.extent.end:
            rest = Extent(offset=first, length=piece.extent.end - first)
            chosen.append(Piece(rest, piece.path, piece.start + first - piece.extent.offset))
    return chosen


def _inside(pieces: Iterable[Piece], extent: Extent) -> list[Piece]:
    """Return the pieces as far as they lie in `extent`."""
    found: list[Piece] = []
    for piece in pieces:
        first, end = max(piece.extent.offset, extent.offset), min(piece.extent.end, extent.end)
        if first < end:
            start = piece.start + first - piece.extent.offset
            found.append(Piece(Extent(offset=first, length=end - first), piece.path, start))
    return found


def _holes(extent: Extent, present: Iterable[Extent]) -> Iterator[Extent]:
    """Yield what `extent` has beside the extents `present`, which are disjoint."""
    at = extent.offset
    for each in sorted(present):
        if each.offset >= extent.end:
            break
        if each.offset > at:
            yield Extent(offset=at, length=each.offset - at)
        at = max(at, each.end)
    if at < extent.end:
        yield Extent(offset=at, length=extent.end - at)


def _copy(piece: Piece, descriptor: int, offset: int) -> None:
    with os.fdopen(open_regular(piece.path), "rb") as source:
        source.seek(piece.start)
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = piece.extent.length
        while left and (data := source.read(min(left, COPY_BYTES))):
            write_all(descriptor, data)
            left -= len(data)
