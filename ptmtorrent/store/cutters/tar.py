"""Cuts tars at their members, and those of torch before version 0.1.10 at their storages.

A member of 64 KiB or more is a piece, or the pieces that it has as a file of weights; all else is joined.
"""

from collections.abc import Iterator

from ptmtorrent.model.containers.tar import TarMember, read_tar
from ptmtorrent.model.containers.torch_tar import STORAGES, read_torch_tar
from ptmtorrent.store.cutters.inside import pieces_inside
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, cover, piece_of


class Tar:
    """Pieces: members, and the gaps between them. Tars without a member of 64 KiB are not cut here."""

    name = "tar/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        members = list(read_tar(source))
        if not any(member.length >= JOIN_BELOW_BYTES for member in members):
            raise NotThisFormat
        storages = _storages(source, members)
        return tuple(cover(_stretches(source, members, storages), 0, source.size))


def _stretches(source: ByteSource, members: list[TarMember], storages: list[Piece]) -> Iterator[Piece]:
    for member in members:
        if member.name == STORAGES and storages:
            yield from storages
        elif member.length >= JOIN_BELOW_BYTES:
            yield from pieces_inside(source, member.name, member.offset, member.length)


def _storages(source: ByteSource, members: list[TarMember]) -> list[Piece]:
    try:
        return [piece_of(tensor) for tensor in read_torch_tar(source, members)]
    except NotThisFormat:
        return []
