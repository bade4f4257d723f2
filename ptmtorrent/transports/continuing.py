"""A transport that requests what other transports did not leave, and delivers extents that are put together of both."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.disk.partial import unseal
from ptmtorrent.model.plan import Extent, PackRequest, staging_path
from ptmtorrent.stop import Stop
from ptmtorrent.transports.begun import Begun, Piece, copy_piece, holes_in, inside
from ptmtorrent.transports.port import Delivered, Failed, PackTransport

Outcome = Delivered | Failed


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
            mine = inside(pieces, extent)
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
        self.holes = set(holes_in(self.extent, [piece.extent for piece in self.pieces]))

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
                    copy_piece(piece, descriptor, piece.extent.offset - self.extent.offset)
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
