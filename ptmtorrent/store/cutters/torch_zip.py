"""Cuts the files that `torch.save` writes since version 1.6: zips of stored members, a pickle and its storages.

::

    archive/data.pkl   archive/byteorder   archive/data/0   archive/data/1   ...   archive/version

A storage of 64 KiB or more is a piece, equal to the same tensor in a safetensors file; the zip headers and small
members between them are joined.
"""

import math

from ptmtorrent.store.cutters.dtypes import BITS
from ptmtorrent.store.cutters.port import ByteSource, NotThisFormat, Piece, tensor_key
from ptmtorrent.store.cutters.torch_pickle import MAX_PICKLE_BYTES, Storage, read_storages
from ptmtorrent.store.cutters.zip_directory import Directory, Member, cover_members, data_of, read_directory

_PICKLE = b"data.pkl"
_STORAGES = b"data/"
_BYTE_ORDER = b"byteorder"


class TorchZip:
    """Pieces: members and the gaps between them."""

    name = "torch-zip/1"

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return the members of 64 KiB or more, and the joined bytes around them."""
        directory = read_directory(source)
        pickle = next((one for one in directory.members if one.name.endswith(b"/" + _PICKLE)), None)
        if pickle is None:
            raise NotThisFormat
        folder = pickle.name.removesuffix(_PICKLE)
        storages = _storages(source, directory, pickle, folder)

        def describe(member: Member, at: int) -> list[Piece]:
            named = member.name.removeprefix(folder + _STORAGES).decode("utf-8", "surrogateescape")
            storage = storages.get(named) if member.name.startswith(folder + _STORAGES) and member.plain else None
            return [_piece(member, at, storage)]

        return tuple(cover_members(source, directory, describe))


def _storages(source: ByteSource, directory: Directory, pickle: Member, folder: bytes) -> dict[str, Storage]:
    """Return the storages that the pickle names; none if it cannot be read or the byte order is not little-endian."""
    order = next((one for one in directory.members if one.name == folder + _BYTE_ORDER), None)
    if order is not None and _content(source, order, len(b"little")) != b"little":
        return {}
    return read_storages(_content(source, pickle, MAX_PICKLE_BYTES))


def _content(source: ByteSource, member: Member, limit: int) -> bytes:
    if not member.plain or member.length > limit:
        return b""
    return source.read(data_of(source, member), member.length)


def _piece(member: Member, at: int, storage: Storage | None) -> Piece:
    dtype: str | None = None
    name: str = member.name.decode("utf-8", "surrogateescape")
    shape: tuple[int, ...] = (member.length,)
    if storage is not None and storage.dtype is not None:
        count = math.prod(storage.shape) if storage.count is None else storage.count
        if count * BITS[storage.dtype] == 8 * member.length:
            dtype = storage.dtype
            name, shape = (storage.name, storage.shape) if storage.name is not None else (name, shape)
    return Piece(at, member.length, dtype, tensor_key(name, dtype, shape))
