"""Finds the storages of the files that `torch.save` wrote before version 1.6, and still writes on request.

::

    pickle of a magic number | pickle of 1001 | pickle of a dict about the machine | pickle of what was saved |
    pickle of the list of keys | for each key: numbers u64, the numbers

All numbers are little-endian, whatever the machine. Before version 0.1.10 it was a tar (`torch_tar`).

Source: torch's `serialization`, function `_legacy_save`, and `StorageMethods.cpp`.
"""

import io
import re
from collections.abc import Iterator

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.source import ByteSource, NotThisFormat, Tensor
from ptmtorrent.model.containers.torch_pickle import MAX_PICKLE_BYTES, read_stream, read_texts, tensor_of

START = re.compile(rb"(?s)\x80[\x02-\x05](?:\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.")
"""The magic number 0x1950a86a20f9469cfc6c as a pickle of protocol 2 or later."""

_MAX_HEAD_BYTES = 2 * MAX_PICKLE_BYTES
_COUNT_BYTES = 8
_PICKLES_BEFORE = 3


def read_torch_legacy(source: ByteSource) -> Iterator[Tensor]:
    """Yield the storages in file order, each named after the tensor that covers it; the rest of the file is ignored.

    Raises:
        NotThisFormat: the pickles are damaged or have more than 8 MiB, or a storage has another length than they say.
    """
    head = io.BytesIO(source.read(0, _MAX_HEAD_BYTES))
    for _ in range(_PICKLES_BEFORE):
        read_texts(head)
    storages = read_stream(head)
    keys = read_texts(head)
    at = head.tell()
    for key in keys:
        storage = storages.get(key)
        if storage is None or (storage.dtype is None and storage.count is not None):
            return
        width = 1 if storage.count is None else BITS[storage.dtype or ""] // 8
        count = int.from_bytes(source.read(at, _COUNT_BYTES), "little")
        length = count * width
        at += _COUNT_BYTES
        if at + length > source.size or (storage.count is not None and count != storage.count):
            raise NotThisFormat
        yield tensor_of(storage, key, at, length)
        at += length
