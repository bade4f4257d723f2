"""Two formats of tensors: safetensors, and the zip of `torch.save`; written without either library.

Source: safetensors format, "Format" section; `torch.save` in its zip format (members stored without compression,
lengths behind the data, data at multiples of 64 bytes); opcodes as in CPython's `pickletools`.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bench_store.tensors import Array, Shapes

WORD_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I8": 1}
ALIGNMENT = 64
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_DESCRIPTOR = struct.Struct("<4sIII")
_END = struct.Struct("<4sHHHHIIH")
_FLAGS = 0x0808  # lengths follow the data; names are UTF-8


def write_safetensors(path: Path, dtype: str, shapes: Shapes, tensors: Iterable[tuple[str, Array]]) -> None:
    """Write tensors, which may come in any order, sorted by name as the library does."""
    header: dict[str, object] = {}
    offsets: dict[str, int] = {}
    at = 0
    for name in sorted(shapes):
        size = int(np.prod(shapes[name])) * WORD_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": (at, at + size)}
        offsets[name] = at
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, values in tensors:
            out.seek(8 + len(text) + offsets[name])
            out.write(memoryview(np.ascontiguousarray(values)).cast("B"))


def write_torch_zip(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write what `torch.save` writes of a dict of float32 tensors, one storage each."""
    with path.open("wb") as out:
        archive = _Archive(out, path.stem)
        archive.add("data.pkl", _pickle(tensors))
        archive.add("byteorder", b"little")
        for number, values in enumerate(tensors.values()):
            archive.add(f"data/{number}", memoryview(np.ascontiguousarray(values)).cast("B"))
        archive.add("version", b"3\n")
        archive.add(".data/serialization_id", b"0" * 40)
        archive.end()


class _Archive:
    def __init__(self, out: BinaryIO, stem: str) -> None:
        self._out = out
        self._stem = stem
        self._central: list[bytes] = []

    def add(self, name: str, data: bytes | memoryview) -> None:
        full = f"{self._stem}/{name}".encode()
        start = self._out.tell()
        padding = -(start + _LOCAL.size + len(full) + 4) % ALIGNMENT
        extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        checksum, size = zlib.crc32(data), len(data)
        self._out.write(_LOCAL.pack(b"PK\3\4", 0, _FLAGS, 0, 0, 0, 0, 0, 0, len(full), len(extra)) + full + extra)
        self._out.write(data)
        self._out.write(_DESCRIPTOR.pack(b"PK\7\10", checksum, size, size))
        entry = _CENTRAL.pack(b"PK\1\2", 0, 0, _FLAGS, 0, 0, 0, checksum, size, size, len(full), 0, 0, 0, 0, 0, start)
        self._central.append(entry + full)

    def end(self) -> None:
        start, count = self._out.tell(), len(self._central)
        directory = b"".join(self._central)
        self._out.write(directory + _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), start, 0))


def _pickle(tensors: Mapping[str, Array]) -> bytes:
    entries = b"".join(_text(name) + _tensor(number, values) for number, (name, values) in enumerate(tensors.items()))
    return b"\x80\x02}(" + entries + b"u."


def _tensor(number: int, values: Array) -> bytes:
    storage = _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(number)) + _text("cpu") + _integer(values.size)
    strides = [stride // values.itemsize for stride in values.strides]
    arguments = b"(" + storage + b"tQ" + _integer(0) + _tuple(values.shape) + _tuple(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
