"""What transports left of packs that none of them completed, in the form of each, for any of them to continue.

A swarm leaves a sparse file at the pack's path in the channel, a server one file for each extent with the first bytes
of it. `continuing` requests from a transport only what neither has; `gather` gives a swarm the bytes of a server.
Nothing of this is trusted: objects are hashed when they are decoded, and pieces by the swarm.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_errors, ensure_dir, write_all
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, PackRequest, Plan, staged_extent, staging_path

BLOCK_BYTES = 4096
"""A sparse file has whole blocks; a part of one in it would pass for the whole."""

COPY_BYTES = 1 << 20


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
        for piece in inside(pieces, extent)
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
            for hole in holes_in(wanted, _data_of(target, size)):
                copy_piece(Piece(hole, path, hole.offset - extent.offset), descriptor, hole.offset)
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


def inside(pieces: Iterable[Piece], extent: Extent) -> list[Piece]:
    """Return the pieces as far as they lie in `extent`."""
    found: list[Piece] = []
    for piece in pieces:
        first, end = max(piece.extent.offset, extent.offset), min(piece.extent.end, extent.end)
        if first < end:
            start = piece.start + first - piece.extent.offset
            found.append(Piece(Extent(offset=first, length=end - first), piece.path, start))
    return found


def holes_in(extent: Extent, present: Iterable[Extent]) -> Iterator[Extent]:
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


def copy_piece(piece: Piece, descriptor: int, offset: int) -> None:
    """Write a piece to a file, at `offset` of it."""
    with piece.path.open("rb") as source:
        source.seek(piece.start)
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = piece.extent.length
        while left and (data := source.read(min(left, COPY_BYTES))):
            write_all(descriptor, data)
            left -= len(data)
