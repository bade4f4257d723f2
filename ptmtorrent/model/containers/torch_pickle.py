"""Finds the types of numbers in the storages of a torch pickle, without unpickling anything.

The opcodes are walked with a stack of labels: strings, integers, tuples and names of globals are kept, everything else
is unknown. Nothing is imported, called or constructed.

::

    "layer.weight"  _rebuild_tensor_v2 ( persistent ("storage", torch.HalfStorage, "7", "cpu", 4096), 0, (64, 64), ...)

Source: torch's `serialization` and `_utils` modules, and files written by them.
"""

import io
import math
import pickletools
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import Any

import msgspec

from ptmtorrent.model.containers.dtypes import BITS
from ptmtorrent.model.containers.source import NotThisFormat, Tensor

MAX_PICKLE_BYTES = 4 << 20
MAX_OPCODES = 300_000
_MAX_TEXT = 512
_MAX_DIMENSIONS = 64

STORAGE_DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "FloatStorage": "F32",
        "HalfStorage": "F16",
        "BFloat16Storage": "BF16",
        "DoubleStorage": "F64",
        "CharStorage": "I8",
        "QInt8Storage": "I8",
        "ByteStorage": "U8",
        "QUInt8Storage": "U8",
        "BoolStorage": "BOOL",
        "ShortStorage": "I16",
        "IntStorage": "I32",
        "QInt32Storage": "I32",
        "LongStorage": "I64",
        "ComplexFloatStorage": "C64",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e4m3fnuz": "F8_E4M3FNUZ",
        "float8_e5m2fnuz": "F8_E5M2FNUZ",
        "float8_e8m0fnu": "F8_E8M0",
        "uint16": "U16",
        "uint32": "U32",
        "uint64": "U64",
    }
)


class Storage(msgspec.Struct, frozen=True):
    """A storage as a pickle describes it: key, dtype (safetensors' name), count of numbers (None if not stated).

    `name` and `shape` are those of the first tensor that covers the whole storage.
    """

    key: str
    dtype: str | None
    count: int | None
    name: str | None = None
    shape: tuple[int, ...] = ()


def tensor_of(storage: Storage | None, name: str, at: int, length: int, *, big_endian: bool = False) -> Tensor:
    """Return the `length` bytes at `at` as the numbers that `storage` says, or as `name` without a dtype."""
    dtype: str | None = None
    shape: tuple[int, ...] = (length,)
    if storage is not None and storage.dtype is not None:
        count = math.prod(storage.shape) if storage.count is None else storage.count
        if count * BITS[storage.dtype] == 8 * length:
            dtype = storage.dtype
            name, shape = (storage.name, storage.shape) if storage.name is not None else (name, shape)
    return Tensor(name, dtype, shape, at, length, big_endian)


class _Global(msgspec.Struct, frozen=True):
    name: str


class _Tensor(msgspec.Struct, frozen=True):
    storage: Storage
    whole: bool
    shape: tuple[int, ...]


_MARK = object()


def read_storages(data: bytes) -> dict[str, Storage]:
    """Return the storages that a pickle names, by key.

    A damaged pickle is read up to the damage, and no pickle beyond 300,000 opcodes.
    """
    walk = _Walk()
    with suppress(*_DAMAGES):
        for opcode, argument, _ in islice(pickletools.genops(data), MAX_OPCODES):
            walk.step(opcode, argument)
    return walk.storages


def read_stream(stream: io.BytesIO) -> dict[str, Storage]:
    """Return the storages that the pickle at the position of `stream` names, and move behind it.

    Raises:
        NotThisFormat: the pickle is damaged, or has more than 300,000 opcodes.
    """
    walk = _Walk()
    for opcode, argument in _opcodes(stream):
        try:
            walk.step(opcode, argument)
        except _DAMAGES as error:
            raise NotThisFormat from error
    return walk.storages


def read_texts(stream: io.BytesIO) -> list[str]:
    """Return the strings in the pickle at the position of `stream`, and move behind it.

    Raises:
        NotThisFormat: the pickle is damaged, or has more than 300,000 opcodes.
    """
    return [argument for opcode, argument in _opcodes(stream) if isinstance(argument, str) and opcode.name in _TEXTS]


def read_globals(stream: io.BytesIO) -> list[str]:
    """Return the names of globals in the pickle at the position of `stream`, without modules, and move behind it.

    Raises:
        NotThisFormat: the pickle is damaged, or has more than 300,000 opcodes.
    """
    found = [str(argument) for opcode, argument in _opcodes(stream) if opcode.name == "GLOBAL"]
    return [name.rpartition(" ")[2] for name in found]


_TEXTS = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_DAMAGES = (ValueError, OverflowError, LookupError, struct.error, TypeError, RecursionError)
"""What `pickletools` and the walk raise for opcodes that make no sense."""


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, object]]:
    """Yield the opcodes of one pickle, up to its end."""
    opcode = None
    try:
        for opcode, argument, _ in islice(pickletools.genops(stream), MAX_OPCODES):
            yield opcode, argument
    except _DAMAGES as error:
        raise NotThisFormat from error
    if opcode is None or opcode.name != "STOP":
        raise NotThisFormat


class _Walk:
    """Stack and memo of the walk over a pickle's opcodes."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._names: set[str] = set()

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Apply `opcode` to the stack, with labels instead of values."""
        match opcode.name:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[int(str(argument))] = self._stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo.get(int(str(argument))))
            case "GLOBAL":
                self._stack.append(_Global(str(argument).rpartition(" ")[2][:_MAX_TEXT]))
            case "DUP":
                self._stack.append(self._stack[-1])
            case _:
                self._others(opcode, argument)

    def _others(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        taken = self._pop(opcode)
        if opcode.name in {"SETITEMS", "SETITEM"}:
            pairs = taken[1:]
            for name, value in zip(pairs[::2], pairs[1::2], strict=False):
                self._name(name, value)
            self._stack.append(taken[0])
            return
        pushes = opcode.stack_after
        for kind in pushes:
            self._stack.append(_MARK if kind is pickletools.markobject else self._label(opcode.name, taken, argument))

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        """Pop the opcode's operands; return them without marks, lowest first."""
        taken: list[Any] = []
        for kind in reversed(opcode.stack_before):
            if kind is pickletools.stackslice:
                while self._stack[-1] is not _MARK:
                    taken.append(self._stack.pop())
            elif kind is pickletools.markobject:
                while self._stack.pop() is not _MARK:
                    pass
            else:
                taken.append(self._stack.pop())
        return taken[::-1]

    def _label(self, opcode: str, taken: list[Any], argument: object) -> object:
        match opcode, taken:
            case (("TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" | "EMPTY_TUPLE"), _):
                return tuple(taken)
            case "STACK_GLOBAL", [_, str(name)]:
                return _Global(name)
            case "BINPERSID", [tuple(fields)]:
                return self._storage(fields)
            case "REDUCE", [_Global(name=function), tuple(arguments)]:
                return _rebuilt(function, arguments)
            case _:
                pass
        if isinstance(argument, str):
            return argument[:_MAX_TEXT]
        return argument if type(argument) is int and 0 <= argument < 1 << 62 else None

    def _storage(self, fields: tuple[Any, ...]) -> Storage | None:
        match fields:
            case ("storage", _Global(name=kind), str(key), _, int(count), *_):
                dtype = STORAGE_DTYPES.get(kind)
                found = Storage(key, dtype, None if kind == "UntypedStorage" else count)
                return self.storages.setdefault(key, found)
            case _:
                return None

    def _name(self, name: object, value: object) -> None:
        """Name a storage after the first tensor that covers all of it, unless another storage has that name."""
        if not isinstance(value, _Tensor) or not isinstance(name, str):
            return
        key = value.storage.key
        if value.whole and self.storages[key].name is None and name not in self._names:
            self._names.add(name)
            known = self.storages[key]
            self.storages[key] = msgspec.structs.replace(
                known, name=name, shape=value.shape, dtype=known.dtype or value.storage.dtype
            )


def _rebuilt(function: str, arguments: tuple[Any, ...]) -> _Tensor | None:
    match function, arguments:
        case "_rebuild_tensor_v3", (Storage() as storage, int(at), tuple(shape), _, _, _, _Global(name=kind), *_):
            return _tensor(msgspec.structs.replace(storage, dtype=STORAGE_DTYPES.get(kind)), at, shape)
        case (("_rebuild_tensor" | "_rebuild_tensor_v2"), (Storage() as storage, int(at), tuple(shape), *_)):
            return _tensor(storage, at, shape)
        case (("_rebuild_parameter" | "_rebuild_parameter_with_state"), (_Tensor() as tensor, *_)):
            return tensor
        case _:
            return None


def _tensor(storage: Storage, offset: int, shape: tuple[Any, ...]) -> _Tensor | None:
    if len(shape) > _MAX_DIMENSIONS or not all(type(length) is int for length in shape):
        return None
    return _Tensor(storage, offset == 0 and storage.count in {None, math.prod(shape)}, shape)
