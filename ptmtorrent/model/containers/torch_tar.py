"""Finds the storages of the tars that torch wrote before version 0.1.10.

::

    sys_info   pickle   tensors   storages: pickle of how many | for each: pickle of (key, device, type), numbers u64,
                                            the numbers | pickle of views

Source: torch's `serialization`, function `legacy_load`.
"""

import io
from collections.abc import Iterator

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.source import MAX_NAMED, ByteSource, NotThisFormat, Section, Tensor
from ptmtorrent.model.containers.tar import TarMember
from ptmtorrent.model.containers.torch_pickle import STORAGE_DTYPES, read_globals

STORAGES = "storages"
_COUNT_BYTES = 8
_WINDOW_BYTES = 1024
"""The pickle before each storage is shorter."""


def read_torch_tar(source: ByteSource, members: list[TarMember]) -> Iterator[Tensor]:
    """Yield the storages of a tar with these members in file order, named by their numbers.

    Raises:
        NotThisFormat: the tar is not one of torch.
    """
    storages = next((one for one in members if one.name == STORAGES), None)
    if storages is None or not {"pickle", "tensors"} <= {one.name for one in members}:
        raise NotThisFormat
    inner = Section(source, storages.offset, storages.length)
    head = io.BytesIO(inner.read(0, _WINDOW_BYTES))
    read_globals(head)
    at = head.tell()
    for number in range(MAX_NAMED):
        head = io.BytesIO(inner.read(at, _WINDOW_BYTES))
        dtype = next((STORAGE_DTYPES[name] for name in read_globals(head) if name in STORAGE_DTYPES), None)
        if dtype is None:  # the list of views ends the storages
            return
        at += head.tell()
        length = int.from_bytes(inner.read(at, _COUNT_BYTES), "little") * BITS[dtype] // 8
        at += _COUNT_BYTES
        if at + length > inner.size:
            raise NotThisFormat
        yield Tensor(f"{STORAGES}/{number}", dtype, (length * 8 // BITS[dtype],), storages.offset + at, length)
        at += length
    raise NotThisFormat
