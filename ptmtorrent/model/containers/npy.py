r"""Parses the header of an array in numpy's format.

::

    \x93NUMPY | version 2 bytes | header length u16 (version 1) or u32 | {'descr': '<f4', 'fortran_order': False,
    'shape': (3, 4), } | numbers

Source: `numpy.lib.format`, versions 1 to 3. The header is a Python literal; it is matched, not evaluated.
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.source import MAX_DIMENSIONS, ByteSource, NotThisFormat, Tensor

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 64 << 10
_FIXED_BYTES = 12

_DESCR = re.compile(rb"'descr': *'([<>|=]?)([a-zA-Z][0-9]+)'")
_SHAPE = re.compile(rb"'shape': *\(([0-9, ]{0,1024})\)")
_FORTRAN = re.compile(rb"'fortran_order': *True")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_DTYPES: Mapping[bytes, str] = MappingProxyType(
    {
        b"f2": "F16",
        b"f4": "F32",
        b"f8": "F64",
        b"c8": "C64",
        b"b1": "BOOL",
        b"i1": "I8",
        b"u1": "U8",
        b"i2": "I16",
        b"u2": "U16",
        b"i4": "I32",
        b"u4": "U32",
        b"i8": "I64",
        b"u8": "U64",
    }
)
"""numpy writes the types of ml_dtypes as plain bytes (`|V2`), so these have no dtype here."""


def read_npy(source: ByteSource, name: str) -> Tensor:
    """Return the numbers of an array, up to the end of the source, as the tensor `name`.

    The shape is that of the bytes in order: reversed if the array is stored by columns. There is no dtype if it is
    unknown, or the array is not as long as its shape says.

    Raises:
        NotThisFormat: no header of at most 64 KiB.
    """
    head = source.read(0, _FIXED_BYTES)
    if not head.startswith(MAGIC) or len(head) < _FIXED_BYTES:
        raise NotThisFormat
    wide = head[6] > 1
    start = 12 + int.from_bytes(head[8:12], "little") if wide else 10 + int.from_bytes(head[8:10], "little")
    if start > min(MAX_HEADER_BYTES, source.size):
        raise NotThisFormat
    header = source.read(0, start)
    descr, shape = _DESCR.search(header), _SHAPE.search(header)
    dtype = _DTYPES.get(descr[2]) if descr is not None else None
    lengths = [int(length) for length in _LENGTH.findall(shape[1])][:MAX_DIMENSIONS] if shape is not None else []
    numbers = source.size - start
    if dtype is None or shape is None or math.prod(lengths) * BITS[dtype] != 8 * numbers:
        dtype = None
    order = lengths[::-1] if _FORTRAN.search(header) else lengths
    big_endian = descr is not None and descr[1] == b">" and BITS.get(dtype or "", 0) > 8
    return Tensor(name, dtype, tuple(order), start, numbers, big_endian)
