"""Cuts a member of a zip or a tar that is itself a file of weights.

Keras puts HDF5 into a zip, NeMo a torch zip into a tar. One level only: an archive inside is cut at the storages of
torch, but what these hold is not looked at.
"""

import re

from ptmtorrent.model.containers import hdf5, torch_legacy, zip_directory
from ptmtorrent.model.containers.npy import MAGIC as NPY
from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.safetensors import START as SAFETENSORS
from ptmtorrent.model.containers.source import Section
from ptmtorrent.store.cutters import tensors
from ptmtorrent.store.cutters.port import ByteSource, Cutter, NotThisFormat, Piece, piece_of, tensor_key
from ptmtorrent.store.cutters.safetensors import Safetensors
from ptmtorrent.store.cutters.torch_zip import TorchZip

_START_BYTES = 40
_CUTTERS: tuple[tuple[re.Pattern[bytes], Cutter], ...] = (
    (re.compile(re.escape(hdf5.MAGIC)), tensors.hdf5()),
    (SAFETENSORS, Safetensors()),
    (re.compile(re.escape(zip_directory.MAGIC)), TorchZip()),
    (torch_legacy.START, tensors.torch_legacy()),
)


def pieces_inside(source: ByteSource, name: str, at: int, length: int) -> list[Piece]:
    """Return the pieces of the member `name`; it is one piece if it is no file of weights."""
    inner = Section(source, at, length)
    start = inner.read(0, _START_BYTES)
    try:
        if start.startswith(NPY):
            numbers = read_npy(inner, name.removesuffix(".npy")).moved(at)
            return [Piece(at, numbers.offset - at), piece_of(numbers)]
        for pattern, cutter in _CUTTERS:
            if pattern.match(start):
                return [_moved(piece, at) for piece in cutter.cut(inner)]
    except NotThisFormat:
        pass
    return [Piece(at, length, None, tensor_key(name, None, (length,)))]


def _moved(piece: Piece, by: int) -> Piece:
    return Piece(piece.offset + by, piece.length, piece.dtype, piece.key)
