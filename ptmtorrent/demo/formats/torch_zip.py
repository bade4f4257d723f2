"""The zip that `torch.save` writes: a pickle of tensor records, and one stored member per storage.

The pickle is assembled opcode by opcode, because nothing of torch is imported to write it and nothing of a package is
ever unpickled. Storages begin at multiples of 64 bytes, padded by an extra field, as torch pads them.

Source: `torch.save` in its zip format; opcodes as in CPython's `pickletools`.
"""

import io
import struct
import zipfile
from collections.abc import Sequence

from ptmtorrent.demo.tensors import DTYPE_BYTES, Tensor

_ALIGNMENT = 64
_MEMBER_HEAD_BYTES = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "F64": "DoubleStorage"}


def encode_torch_zip(tensors: Sequence[Tensor], *, stem: str) -> bytes:
    """Return what `torch.save(state_dict)` would write; `stem` names the folder inside the zip.

    dtypes: F32, F16, BF16, F64.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, out, f"{stem}/data.pkl", _pickle(tensors))
        _write(archive, out, f"{stem}/byteorder", b"little")
        for number, tensor in enumerate(tensors):
            _write(archive, out, f"{stem}/data/{number}", tensor.data)
        _write(archive, out, f"{stem}/version", b"3\n")
    return out.getvalue()


def _write(archive: zipfile.ZipFile, out: io.BytesIO, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 0  # the same bytes on Windows and on Unix
    start = out.tell() + _MEMBER_HEAD_BYTES + len(name.encode()) + 4
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(info, data)


def _pickle(tensors: Sequence[Tensor]) -> bytes:
    entries = b"".join(_text(tensor.name) + _tensor(number, tensor) for number, tensor in enumerate(tensors))
    return b"\x80\x02" + _ordered_dict() + b"(" + entries + b"u."


def _tensor(number: int, tensor: Tensor) -> bytes:
    count = len(tensor.data) // DTYPE_BYTES[tensor.dtype]
    storage = (
        b"("
        + _text("storage")
        + _name("torch", _STORAGES[tensor.dtype])
        + _text(str(number))
        + _text("cpu")
        + _integer(count)
    )
    shape = _tuple(map(_integer, tensor.shape))
    stride = _tuple(map(_integer, _strides(tensor.shape)))
    arguments = b"(" + storage + b"tQ" + _integer(0) + shape + stride + b"\x89" + _ordered_dict() + b"t"
    return _name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.insert(0, step)
        step *= length
    return tuple(strides)


def _ordered_dict() -> bytes:
    return _name("collections", "OrderedDict") + b")R"


def _name(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(items: "map[bytes]") -> bytes:
    return b"(" + b"".join(items) + b"t"
