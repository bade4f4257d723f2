"""Cuts the zips that `torch.save` writes since version 1.6 (`model/containers/torch_zip.py`).

A storage of 64 KiB or more is a piece, equal to the same tensor in a safetensors file; the zip headers and small
members between them are joined.
"""

from ptmtorrent.model.containers.torch_zip import TorchZip as Archive
from ptmtorrent.model.containers.zip_directory import Member
from ptmtorrent.store.cutters.port import ByteSource, Piece, piece_of
from ptmtorrent.store.cutters.zip_members import cover_members


class TorchZip:
    """Pieces: members and the gaps between them."""

    name = "torch-zip/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        archive = Archive(source)

        def describe(member: Member, at: int) -> list[Piece]:
            return [piece_of(archive.tensor(member, at))]

        return tuple(cover_members(source, archive.directory, describe))
