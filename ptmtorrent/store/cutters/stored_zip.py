"""Cuts zips with stored (uncompressed) members, such as those of `numpy.savez` and Keras.

A member of 64 KiB or more is a piece; an array in numpy's format is two, its header and its numbers; a file of weights
is cut as it would be alone.
"""

from ptmtorrent.model.containers.zip_directory import Member, read_directory
from ptmtorrent.store.cutters.inside import pieces_inside
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, tensor_key
from ptmtorrent.store.cutters.zip_members import cover_members


class StoredZip:
    """Pieces: members and the gaps between them. Zips without a large stored member are not cut here."""

    name = "zip/2"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        directory = read_directory(source)
        if not any(member.plain and member.length >= JOIN_BELOW_BYTES for member in directory.members):
            raise NotThisFormat

        def describe(member: Member, at: int) -> list[Piece]:
            name = member.name.decode("utf-8", "surrogateescape")
            if member.plain:
                return pieces_inside(source, name, at, member.length)
            return [Piece(at, member.length, None, tensor_key(name, None, (member.length,)))]

        return tuple(cover_members(source, directory, describe))
