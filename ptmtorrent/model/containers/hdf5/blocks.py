"""Reads structures of an HDF5 file by their addresses, with a budget for all of them."""

from ptmtorrent.model.containers.source import ByteSource, NotThisFormat

UNDEFINED = (1 << 64) - 1
MAX_BLOCKS = 400_000
"""Limit of structures that are read, about two seconds."""

MAX_BYTES = 64 << 20
MAX_BLOCK_BYTES = 1 << 20


class Blocks:
    """The structures of a file."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._blocks = 0
        self._bytes = 0

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._source.size

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes at `address`.

        Raises:
            NotThisFormat: they are not in the file, or too many were read.
        """
        self._blocks += 1
        self._bytes += length
        if self._blocks > MAX_BLOCKS or self._bytes > MAX_BYTES or length > MAX_BLOCK_BYTES:
            raise NotThisFormat
        if address + length > self._source.size:
            raise NotThisFormat
        data = self._source.read(address, length)
        if len(data) != length:
            raise NotThisFormat
        return data

    def signed(self, address: int, signature: bytes, length: int) -> bytes:
        """Return `length` bytes at `address` that begin with a signature.

        Raises:
            NotThisFormat: they do not.
        """
        data = self.read(address, length)
        if not data.startswith(signature):
            raise NotThisFormat
        return data


def number(data: bytes, at: int, width: int = 8) -> int:
    """Return a little-endian integer.

    Raises:
        NotThisFormat: `data` ends before it does.
    """
    if at + width > len(data):
        raise NotThisFormat
    return int.from_bytes(data[at : at + width], "little")
