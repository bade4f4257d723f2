"""Finds the storages of the zips that `torch.save` writes since version 1.6.

::

    archive/data.pkl   archive/byteorder   archive/data/0   archive/data/1   ...   archive/version

The pickle says what the numbers are; it is never unpickled (`torch_pickle`).
"""

from ptmtorrent.model.containers.source import ByteSource, NotThisFormat, Tensor
from ptmtorrent.model.containers.torch_pickle import MAX_PICKLE_BYTES, Storage, read_storages, tensor_of
from ptmtorrent.model.containers.zip_directory import Directory, Member, data_of, read_directory

_PICKLE = b"data.pkl"
_STORAGES = b"data/"
_BYTE_ORDER = b"byteorder"


class TorchZip:
    """The `directory` of a torch zip, and the description of its storages.

    Raises:
        NotThisFormat: not a zip, or it has no `data.pkl` in a folder.
    """

    def __init__(self, source: ByteSource) -> None:
        self.directory: Directory = read_directory(source)
        pickle = next((one for one in self.directory.members if one.name.endswith(b"/" + _PICKLE)), None)
        if pickle is None:
            raise NotThisFormat
        self._folder = pickle.name.removesuffix(_PICKLE)
        order_name = self._folder + _BYTE_ORDER
        order = next((one for one in self.directory.members if one.name == order_name), None)
        spelled = b"little" if order is None else _content(source, order, len(b"little"))
        self._big_endian = spelled == b"big"
        known = spelled in {b"little", b"big"}
        self._storages = read_storages(_content(source, pickle, MAX_PICKLE_BYTES)) if known else {}

    def tensor(self, member: Member, at: int) -> Tensor:
        """Return the numbers of a member whose bytes begin at `at`; one that is no storage has no dtype."""
        prefix = self._folder + _STORAGES
        storage: Storage | None = None
        if member.plain and member.name.startswith(prefix):
            storage = self._storages.get(member.name.removeprefix(prefix).decode("utf-8", "surrogateescape"))
        name = member.name.decode("utf-8", "surrogateescape")
        return tensor_of(storage, name, at, member.length, big_endian=self._big_endian)


def _content(source: ByteSource, member: Member, limit: int) -> bytes:
    if not member.plain or member.length > limit:
        return b""
    return source.read(data_of(source, member), member.length)
