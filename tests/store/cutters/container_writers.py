"""Writes small files of further formats, by their specifications alone; tensors as in `writers`."""

import io
import pickle
import struct
import tarfile
from collections.abc import Mapping

import numpy as np

from tests.store.cutters.writers import Tensors, field, torch_pickle, varint

MAGIC_NUMBER = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_WORDS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1, "I64": 8, "I32": 4, "U16": 2, "BOOL": 1}
_NUMPY = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I8": "int8", "I64": "int64"}
_TORCH = {
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "F64": "DoubleStorage",
    "I8": "CharStorage",
    "I64": "LongStorage",
}
_TF = {"F32": 1, "F64": 2, "I8": 6, "I64": 9, "BF16": 14, "F16": 19}


def npy(descr: str, shape: tuple[int, ...], data: bytes, *, fortran: bool = False, version: int = 1) -> bytes:
    """What `numpy.save` writes, in any version of the format."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    fixed = 10 if version == 1 else 12
    text += b" " * (-(fixed + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(fixed - 8, "little") + text + data


def msgpack(tensors: Tensors) -> bytes:
    """What Flax writes of nested dicts of arrays: names are split at dots."""
    tree: dict[str, object] = {}
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})  # type: ignore[assignment]
        inner[last] = tensor
    return _packed(tree)


def _packed(value: object) -> bytes:
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(_packed(key) + _packed(inner) for key, inner in value.items())
    if isinstance(value, str):
        return bytes([0xD9, len(value.encode())]) + value.encode()
    dtype, shape, data = value  # type: ignore[misc]
    array = bytes([0x93, 0x90 | len(shape)]) + b"".join(b"\xce" + struct.pack(">I", length) for length in shape)
    array += _packed(_NUMPY[dtype]) + b"\xc6" + struct.pack(">I", len(data)) + data
    return b"\xc9" + struct.pack(">I", len(array)) + b"\x01" + array


def torch_legacy(tensors: Tensors) -> bytes:
    """What `torch.save` wrote before version 1.6."""
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}, 2)
    keys = [str(row) for row in range(len(tensors))]
    head = MAGIC_NUMBER + pickle.dumps(1001, 2) + system + torch_pickle(tensors) + pickle.dumps(keys, 2)
    return head + b"".join(struct.pack("<Q", len(data) // _WORDS[dtype]) + data for dtype, _, data in tensors.values())


def torch_tar(tensors: Tensors) -> bytes:
    """What torch wrote before version 0.1.10, of dtypes that it had then."""
    storages = pickle.dumps(len(tensors), 2)
    for row, (dtype, _, data) in enumerate(tensors.values()):
        kind = b"ctorch\n" + _TORCH[dtype].encode() + b"\n"
        storages += b"\x80\x02K" + bytes([row]) + b"X\x03\0\0\0cpu" + kind + b"\x87."
        storages += struct.pack("<Q", len(data) // _WORDS[dtype]) + data
    storages += pickle.dumps([], 2)
    members = {"sys_info": b"\x80\x02}.", "pickle": b"\x80\x02}.", "tensors": b"\x80\x02K\0.", "storages": storages}
    return tar(members)


def tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def checkpoint(tensors: Tensors, *, shards: int = 1) -> tuple[bytes, list[bytes]]:
    """The index and the data files of a TensorFlow checkpoint, its tensors dealt out to the files."""
    data = [bytearray() for _ in range(shards)]
    rows = [(b"", varint(1 << 3) + varint(shards) + field(3, varint(1 << 3) + varint(1)))]
    for row, name in enumerate(sorted(tensors, key=str.encode)):
        dtype, shape, numbers = tensors[name]
        entry = varint(1 << 3) + varint(_TF[dtype])
        entry += field(2, b"".join(field(2, varint(1 << 3) + varint(length)) for length in shape))
        entry += varint(3 << 3) + varint(row % shards) + varint(4 << 3) + varint(len(data[row % shards]))
        entry += varint(5 << 3) + varint(len(numbers)) + varint(6 << 3 | 5) + bytes(4)
        rows.append((name.encode(), entry))
        data[row % shards] += numbers
    return sstable(rows), [bytes(one) for one in data]


def sstable(rows: list[tuple[bytes, bytes]]) -> bytes:
    """A table of one block, keys shortened by what they share with the one before."""
    block = _block(rows)
    meta, index_at = _block([]), len(block) + 5
    index = _block([(rows[-1][0] + b"\xff", varint(0) + varint(len(block)))])
    meta_at = index_at + len(index) + 5
    out = block + bytes(5) + index + bytes(5) + meta + bytes(5)
    handles = varint(meta_at) + varint(len(meta)) + varint(index_at) + varint(len(index))
    return out + handles + bytes(40 - len(handles)) + (0xDB4775248B80FB57).to_bytes(8, "little")


def _block(rows: list[tuple[bytes, bytes]]) -> bytes:
    out, before = b"", b""
    for key, value in rows:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1)


def hdf5(tensors: Tensors, *, chunk_rows: int = 0) -> bytes:
    """A file as old libraries write it: groups as trees of symbols, contiguous datasets, or chunks of whole rows.

    Names are of one level and ASCII; all datasets have the same leading structures, so that the layout is easy to see.
    """
    out = bytearray(96)
    entries = []
    for name in sorted(tensors, key=str.encode):
        dtype, shape, data = tensors[name]
        at = len(out)
        out += data
        layout = struct.pack("<BBQQ", 3, 1, at, len(data))
        if chunk_rows and len(shape) > 1:
            layout = _chunks(out, at, shape, chunk_rows, _WORDS[dtype])
        space = struct.pack("<BBBBI", 1, len(shape), 0, 0, 0) + struct.pack(f"<{len(shape)}Q", *shape)
        entries.append((name, len(out)))
        out += _header([(1, space), (3, _datatype(dtype)), (8, layout)])
    names, offsets = bytearray(8), []
    for name, _ in entries:
        offsets.append(len(names))
        names += name.encode() + bytes(8 - len(name) % 8)
    names_at, heap_at = len(out), len(out) + len(names)
    out += names + struct.pack("<4sIQQQ", b"HEAP", 0, len(names), (1 << 64) - 1, names_at)
    leaf_at = len(out)
    out += struct.pack("<4sBBH", b"SNOD", 1, 0, len(entries))
    for (_, header), offset in zip(entries, offsets, strict=True):
        out += struct.pack("<QQII16x", offset, header, 0, 0)
    tree_at = len(out)
    out += struct.pack("<4sBBHQQ", b"TREE", 0, 0, 1, (1 << 64) - 1, (1 << 64) - 1)
    out += struct.pack("<QQQ", 0, leaf_at, offsets[-1])
    root = len(out)
    out += _header([(0x11, struct.pack("<QQ", tree_at, heap_at))])
    head = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    head += struct.pack("<QQQQ", 0, (1 << 64) - 1, len(out), (1 << 64) - 1) + struct.pack("<QQII16x", 0, root, 0, 0)
    out[:96] = head
    return bytes(out)


def _header(messages: list[tuple[int, bytes]]) -> bytes:
    body = b""
    for kind, data in messages:
        padded = data + bytes(-len(data) % 8)
        body += struct.pack("<HHB3x", kind, len(padded), 0) + padded
    return struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body


def _datatype(dtype: str) -> bytes:
    size = _WORDS[dtype]
    if dtype[0] in "IU":
        return struct.pack("<B3sIHH", 0x10, bytes([8 if dtype[0] == "I" else 0, 0, 0]), size, 0, 8 * size)
    exponent, mantissa = {"F16": (5, 10), "BF16": (8, 7), "F32": (8, 23), "F64": (11, 52)}[dtype]
    bias = (1 << exponent - 1) - 1
    bits = bytes([0x20, 8 * size - 1, 0])
    return struct.pack("<B3sIHHBBBBI", 0x11, bits, size, 0, 8 * size, mantissa, exponent, 0, mantissa, bias)


def _chunks(out: bytearray, at: int, shape: list[int], rows: int, word: int) -> bytes:
    """Index whole rows as chunks; the bytes lie in order already, but for what the last chunk lacks."""
    length = rows * int(np.prod(shape[1:])) * word
    count = -(-shape[0] // rows)
    out += bytes(count * length - (len(out) - at))
    tree = len(out)
    out += struct.pack("<4sBBHQQ", b"TREE", 1, 0, count, (1 << 64) - 1, (1 << 64) - 1)
    for row in range(count + 1):
        out += struct.pack("<II", length if row < count else 0, 0) + struct.pack("<Q", row * rows)
        out += bytes(8 * len(shape))
        out += struct.pack("<Q", at + row * length) if row < count else b""
    return struct.pack("<BBBQ", 3, 2, len(shape) + 1, tree) + struct.pack(f"<{len(shape) + 1}I", rows, *shape[1:], word)
