"""Reads the index of a TensorFlow checkpoint, which says where the numbers lie in its data files.

::

    x.index                     sstable: "" -> BundleHeaderProto { shards 1, byte order 2 }
                                         name -> BundleEntryProto { dtype 1, shape 2, shard 3, offset 4, size 5 }
    x.data-00000-of-00001       the numbers

Source: TensorFlow, `core/protobuf/tensor_bundle.proto` and `core/util/tensor_bundle`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.protobuf import read_fields
from ptmtorrent.model.containers.source import MAX_DIMENSIONS, MAX_NUMBER, ByteSource, NotThisFormat, Tensor
from ptmtorrent.model.containers.sstable import read_sstable

DATA = re.compile(r"\.data-([0-9]{5})-of-[0-9]{5}\Z")
INDEX = ".index"

_DTYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "F32",
        2: "F64",
        3: "I32",
        4: "U8",
        5: "I16",
        6: "I8",
        8: "C64",
        9: "I64",
        10: "BOOL",
        11: "I8",
        12: "U8",
        13: "I32",
        14: "BF16",
        15: "I16",
        16: "U16",
        17: "U16",
        19: "F16",
        22: "U32",
        23: "U64",
        24: "F8_E5M2",
        25: "F8_E4M3",
    }
)
"""`DataType` in TensorFlow's types.proto."""


def read_checkpoint(index: ByteSource, shard: int) -> Iterator[Tensor]:
    """Yield the tensors that an index lists in data file number `shard`, by name.

    Raises:
        NotThisFormat: not the index of a checkpoint.
    """
    big_endian = False
    for row, (key, value) in enumerate(read_sstable(index)):
        if not row:
            if key:
                raise NotThisFormat
            big_endian = _number(dict(read_fields(value)).get(2, 0)) == 1
            continue
        fields = dict(read_fields(value))
        if _number(fields.get(3, 0)) == shard:
            yield _tensor(key.decode("utf-8", "surrogateescape"), fields, big_endian=big_endian)


def _tensor(name: str, fields: Mapping[int, int | bytes], *, big_endian: bool) -> Tensor:
    offset, length = _number(fields.get(4, 0)), _number(fields.get(5, 0))
    shape = tuple(_shape(fields.get(2, b"")))
    dtype = _DTYPES.get(_number(fields.get(1, 0)))
    if dtype is not None and math.prod(shape) * BITS[dtype] != 8 * length:
        dtype = None
    return Tensor(name, dtype, shape, offset, length, big_endian and BITS.get(dtype or "", 0) > 8)


def _shape(data: int | bytes) -> Iterator[int]:
    if not isinstance(data, bytes):
        raise NotThisFormat
    dimensions = [value for number, value in read_fields(data) if number == 2]
    if len(dimensions) > MAX_DIMENSIONS:
        raise NotThisFormat
    for dimension in dimensions:
        if not isinstance(dimension, bytes):
            raise NotThisFormat
        yield _number(dict(read_fields(dimension)).get(1, 0))


def _number(value: int | bytes) -> int:
    if not isinstance(value, int) or value > MAX_NUMBER:
        raise NotThisFormat
    return value
