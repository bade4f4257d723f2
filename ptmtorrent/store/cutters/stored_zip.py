"""Cuts zips with stored (uncompressed) members, such as those of `numpy.savez`.

A member of 64 KiB or more is a piece; an array in numpy's format is two, its header and its numbers.
"""

from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.source import Section
from ptmtorrent.model.containers.zip_directory import Member, read_directory
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, piece_of, tensor_key
from ptmtorrent.store.cutters.zip_members import cover_members


class StoredZip:
    """Pieces: members and the gaps between them. Zips without a large stored member are not cut here."""

    name = "zip/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        directory = read_directory(source)
        if not any(member.plain and member.length >= JOIN_BELOW_BYTES for member in directory.members):
            raise NotThisFormat

        def describe(member: Member, at: int) -> list[Piece]:
            return _array(source, member, at) if member.plain else [_whole(member, at)]

        return tuple(cover_members(source, directory, describe))


def _whole(member: Member, at: int) -> Piece:
    name = member.name.decode("utf-8", "surrogateescape")
    return Piece(at, member.length, None, tensor_key(name, None, (member.length,)))


def _array(source: ByteSource, member: Member, at: int) -> list[Piece]:
    """Return numpy's header and the numbers as two pieces; a member that is not an array is one piece."""
    name = member.name.decode("utf-8", "surrogateescape").removesuffix(".npy")
    try:
        numbers = read_npy(Section(source, at, member.length), name).moved(at)
    except NotThisFormat:
        return [_whole(member, at)]
    return [Piece(at, numbers.offset - at), piece_of(numbers)]
