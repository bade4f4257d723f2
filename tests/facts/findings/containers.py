"""Writes small files of every container, as frameworks and attackers do."""

import io
import json
import struct
import tarfile
import zipfile

import numpy as np

from tests.facts.findings.pickled import BUILD, EMPTY_DICT, MARK, TUPLE, call, imported, number, start, text


def joblib(array: "np.ndarray | None", *, behind: bytes = b"", objects: bytes = b"") -> bytes:
    """A pickle as joblib writes it: the bytes of the array stand between opcodes."""
    dtype = "O8" if array is None else "f8"
    shape = MARK + number(2 if array is None else array.size) + TUPLE
    kind = call("numpy", "dtype", text(dtype, 4) + b"\x89\x88", 4)
    state = EMPTY_DICT + MARK + text("shape", 4) + shape + text("dtype", 4) + kind
    state += text("allow_mmap", 4) + b"\x88" + text("numpy_array_alignment_bytes", 4) + b"K\x10u"
    head = imported("joblib.numpy_pickle", "NumpyArrayWrapper", 4) + b")\x81" + state + BUILD
    payload = objects if array is None else b"\x03\xff\xff\xff" + array.tobytes()
    return start(4) + head + payload + (b"0" + behind if behind else b"") + b"."


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def torch_members(pickled: bytes, **others: bytes) -> dict[str, bytes]:
    files = {"archive/data.pkl": pickled, "archive/byteorder": b"little", "archive/data/0": bytes(16)}
    return files | {f"archive/{name}": data for name, data in others.items()} | {"archive/version": b"3\n"}


def npy(array: "np.ndarray") -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def objects_npy(evil: bytes) -> bytes:
    """An array of objects whose pickle is `evil`."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (64 - (10 + len(head)) % 64 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + evil


def safetensors(extra: bytes = b"", header: bytes | None = None) -> bytes:
    head = header or b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return struct.pack("<Q", len(head)) + head + bytes(8) + extra


def gguf(*, template: str | None = None, keys: int | None = None) -> bytes:
    def string(value: str) -> bytes:
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    entries = [string("general.architecture") + struct.pack("<I", 8) + string("llama")]
    if template is not None:
        entries.append(string("tokenizer.chat_template") + struct.pack("<I", 8) + string(template))
    count = len(entries) if keys is None else keys
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + b"".join(entries) + bytes(32)


def _field(number_: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    key = number_ << 3 | 2
    tag = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    return tag + length + bytes([size]) + data


def onnx(*, domain: str = "", location: str | None = None) -> bytes:
    tensor = b"\x08\x02\x10\x01" + _field(8, b"w")
    if location is None:
        tensor += _field(9, bytes(8))
    else:
        tensor += _field(13, _field(1, b"location") + _field(2, location.encode())) + b"\x70\x01"
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Op") + (_field(7, domain.encode()) if domain else b"")
    opset = (_field(1, domain.encode()) if domain else b"") + b"\x10\x11"
    return b"\x08\x08" + _field(2, b"made") + _field(7, _field(1, node) + _field(5, tensor)) + _field(8, opset)


def keras(*layers: str) -> bytes:
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": layer, "config": {}} for layer in layers]},
    }
    return json.dumps(config).encode()


def hdf5(config: bytes) -> bytes:
    return b"\x89HDF\r\n\x1a\n\x00" + bytes(600) + b"model_config\x00" + config + bytes(300)
