"""Writes small files of the formats that are cut, by the specifications alone: none of their libraries is needed.

All take `{name: (dtype, shape, bytes)}` with safetensors' names of dtypes, so that one set of tensors has twins.
"""

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping
from itertools import accumulate

from tests.store.samples import bf16, numbers, random_bytes

Tensors = Mapping[str, tuple[str, list[int], bytes]]

_STORAGES = {
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "F64": "DoubleStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "I64": "LongStorage",
}
_WORDS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1, "I64": 8}
_GGML = {"F32": 0, "F16": 1, "I8": 24, "I64": 27, "F64": 28, "BF16": 30}
_ONNX = {"F32": 1, "U8": 2, "I8": 3, "I64": 7, "F16": 10, "F64": 11, "BF16": 16}


def model(scale: int = 1) -> Tensors:
    """A little of everything: large and small tensors of several dtypes, names beyond ASCII."""
    large = 24_000 * scale
    return {
        "embed.weight": ("F32", [8, large // 8], numbers(large, 2).tobytes()),
        "layers.0.norm": ("F32", [64], numbers(64, 3).tobytes()),
        "layers.0.bias": ("BF16", [32], bf16(32, 4)),
        "layers.0.q": ("BF16", [2, 2 * large // 2], bf16(2 * large, 5)),
        "layers.0.größe": ("I8", [70_000], random_bytes(70_000, 6)),
        "head": ("F16", [40_000], random_bytes(80_000, 7)),
        "steps": ("I64", [1], bytes(8)),
    }


def torch_zip(tensors: Tensors, *, wrap: bool = False, folder: str = "archive") -> bytes:
    """What `torch.save` writes of a dict of tensors; with `wrap`, of `{"model": that dict}`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        _aligned(archive, f"{folder}/data.pkl", torch_pickle(tensors, wrap=wrap))
        _aligned(archive, f"{folder}/byteorder", b"little")
        for row, (_, _, data) in enumerate(tensors.values()):
            _aligned(archive, f"{folder}/data/{row}", data)
        _aligned(archive, f"{folder}/version", b"3\n")
    return out.getvalue()


def _aligned(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Write a member whose bytes begin at a multiple of 64, as torch does."""
    info = zipfile.ZipInfo(name)
    at = archive.fp.tell() + 30 + len(name) + 4 if archive.fp else 0
    padding = -at % 64
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    archive.writestr(info, data)


def torch_pickle(tensors: Tensors, *, wrap: bool = False) -> bytes:
    """Protocol 2, strings and globals kept in the memo and fetched again, as pickles have them."""
    pickle = _Pickle()
    inner = (lambda: pickle.mapping({name: _rebuild(pickle, row, tensors[name]) for row, name in enumerate(tensors)}),)
    if wrap:
        pickle.mapping({"model": inner[0], "epoch": lambda: pickle.integer(7)})
    else:
        inner[0]()
    return b"\x80\x02" + bytes(pickle.out) + b"."


def _rebuild(pickle: "_Pickle", row: int, tensor: tuple[str, list[int], bytes]):  # noqa: ANN202
    dtype, shape, data = tensor
    strides = list(accumulate([1, *shape[:0:-1]], lambda left, right: left * right))[::-1]

    def write() -> None:
        pickle.reference("torch._utils _rebuild_tensor_v2")
        pickle.out += b"(("
        pickle.text("storage")
        pickle.reference(f"torch {_STORAGES[dtype]}")
        pickle.text(str(row))
        pickle.text("cpu")
        pickle.integer(len(data) // _WORDS[dtype])
        pickle.out += b"tQ"
        pickle.integer(0)
        pickle.integers(shape)
        pickle.integers(strides)
        pickle.out += b"\x89"
        pickle.reference("collections OrderedDict")
        pickle.out += b")RtR"

    return write


class _Pickle:
    def __init__(self) -> None:
        self.out = bytearray()
        self._memo: dict[str, int] = {}

    def text(self, text: str) -> None:
        data = text.encode()
        self._once(f"text {text}", b"X" + struct.pack("<I", len(data)) + data)

    def reference(self, name: str) -> None:
        self._once(name, b"c" + name.replace(" ", "\n").encode() + b"\n")

    def integer(self, value: int) -> None:
        self.out += b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)

    def integers(self, values: Iterable[int]) -> None:
        self.out += b"("
        for value in values:
            self.integer(value)
        self.out += b"t"

    def mapping(self, values: Mapping[str, object]) -> None:
        self.reference("collections OrderedDict")
        self.out += b")R("
        for name, write in values.items():
            self.text(name)
            write()  # type: ignore[operator]  # what writes a value
        self.out += b"u"

    def _once(self, name: str, code: bytes) -> None:
        if name in self._memo:
            self.out += b"j" + struct.pack("<I", self._memo[name])
        else:
            self._memo[name] = len(self._memo)
            self.out += code + b"r" + struct.pack("<I", self._memo[name])


def gguf(  # what files of all versions differ in
    tensors: Tensors,
    *,
    words: int = 0,
    alignment: int = 32,
    version: int = 3,
    kinds: Mapping[str, int] | None = None,
    order: str = "<",
) -> bytes:
    """A model with `words` in its tokenizer. `kinds` are ggml's types of tensors whose bytes are blocks already.

    `order` is that of the header's integers; the tensors' bytes are taken as they are.
    """
    length = "I" if version == 1 else "Q"

    def text(text: str) -> bytes:
        return struct.pack(order + length, len(text.encode())) + text.encode()

    keys = [text("general.architecture") + struct.pack(order + "I", 8) + text("llama")]
    keys.append(text("general.alignment") + struct.pack(order + "II", 4, alignment))
    if words:
        listed = b"".join(text(f"word{number}") for number in range(words))
        array = struct.Struct(f"{order}II{length}")
        keys.append(text("tokenizer.ggml.tokens") + array.pack(9, 8, words) + listed)
        keys.append(text("tokenizer.ggml.scores") + array.pack(9, 6, words) + bytes(4 * words))
    infos, body = bytearray(), bytearray()
    for name, (dtype, shape, data) in tensors.items():
        kind = (kinds or {}).get(name, _GGML.get(dtype, 0))
        dimensions = struct.pack(f"{order}I{len(shape)}{length}", len(shape), *shape[::-1])
        infos += text(name) + dimensions + struct.pack(order + "IQ", kind, len(body))
        body += data + bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack(f"{order}I2{length}", version, len(tensors), len(keys)) + b"".join(keys) + bytes(infos)
    return head + bytes(-len(head) % alignment) + bytes(body)


def onnx(tensors: Tensors, *, name_last: bool = False, in_nodes: bool = False, typed: bool = False) -> bytes:
    """A model whose numbers are initializers, or with `in_nodes` attributes of constant nodes of a subgraph.

    With `typed`, floats are in `float_data` instead of `raw_data`.
    """
    graph = field(1, field(4, b"Add")) + field(2, b"graph")
    for name, (dtype, shape, data) in tensors.items():
        dims = field(1, b"".join(varint(length) for length in shape))
        values = field(4 if typed and dtype == "F32" else 9, data)
        parts = [dims, varint(2 << 3) + varint(_ONNX[dtype]), field(8, name.encode()), values]
        tensor = b"".join(reversed(parts) if name_last else parts)
        graph += field(1, field(5, field(1, b"value") + field(5, tensor))) if in_nodes else field(5, tensor)
    if in_nodes:
        graph = field(1, field(5, field(1, b"body") + field(6, graph)))
    return varint(1 << 3) + varint(8) + field(2, b"writer") + field(7, graph) + field(8, varint(2 << 3) + varint(17))


def onnx_external(tensors: Tensors, location: str, page: int = 4096) -> tuple[bytes, bytes]:
    """A model and the file of its numbers, each at a multiple of `page`."""
    graph, body = b"", bytearray()
    for name, (dtype, shape, data) in tensors.items():
        body += bytes(-len(body) % page)
        entries = {"location": location, "offset": str(len(body)), "length": str(len(data))}
        tensor = b"".join(varint(1 << 3) + varint(length) for length in shape)
        tensor += varint(2 << 3) + varint(_ONNX[dtype]) + field(8, name.encode())
        for key, value in entries.items():
            tensor += field(13, field(1, key.encode()) + field(2, value.encode()))
        graph += field(5, tensor + varint(14 << 3) + varint(1))
        body += data
    return varint(1 << 3) + varint(8) + field(7, graph), bytes(body)


def field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
