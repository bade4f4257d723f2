"""Cuts files at the tensors that a parser of `model/containers/` finds; the bytes between them are gaps."""

from collections.abc import Callable, Iterable

from ptmtorrent.model.containers.hdf5 import read_hdf5
from ptmtorrent.model.containers.msgpack import read_msgpack
from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.torch_legacy import read_torch_legacy
from ptmtorrent.store.cutters.port import JOIN_BELOW_BYTES, ByteSource, NotThisFormat, Piece, Tensor, cover, piece_of


class Tensors:
    """Pieces: the tensors, and the joined gaps around them. Files with less than 64 KiB of tensors are not cut here."""

    def __init__(self, name: str, read: Callable[[ByteSource], Iterable[Tensor]]) -> None:
        self.name = name
        self._read = read

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the tensors in file order, and the gaps."""
        return tuple(cover(stretches_of(self._read(source)), 0, source.size))


def stretches_of(tensors: Iterable[Tensor]) -> list[Piece]:
    """Return the stretches of tensors in file order.

    Raises:
        NotThisFormat: they have less than 64 KiB together.
    """
    pieces = sorted((piece_of(one) for one in tensors if one.length), key=lambda piece: piece.offset)
    if sum(piece.length for piece in pieces) < JOIN_BELOW_BYTES:
        raise NotThisFormat
    return pieces


def npy() -> Tensors:
    """Return the cutter for an array in numpy's format: its header, then its numbers."""
    return Tensors("npy/1", lambda source: [read_npy(source, "")])


def msgpack() -> Tensors:
    """Return the cutter for the msgpack files of Flax."""
    return Tensors("msgpack/1", read_msgpack)


def torch_legacy() -> Tensors:
    """Return the cutter for the pickles followed by storages that torch wrote before version 1.6."""
    return Tensors("torch/1", read_torch_legacy)


def hdf5() -> Tensors:
    """Return the cutter for HDF5 files."""
    return Tensors("hdf5/1", read_hdf5)
