"""Walks the opcodes of pickles at any place of a file, with labels instead of values.

Strings, small numbers, tuples, and names of globals are kept as labels; everything else is unknown. Long arguments are
skipped and not read. Nothing is imported, called or constructed. After the end of a pickle the next one is walked, if
there is one, and the arrays that joblib writes between opcodes are skipped as their headers say.

Sources: `pickletools` of the standard library (opcodes, arguments, effects on the stack); joblib's `numpy_pickle`.
"""

import math
import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ptmtorrent.facts.findings.found import Findings
from ptmtorrent.facts.findings.names import is_dangerous, judge
from ptmtorrent.model.containers.source import ByteSource, MemorySource, NotThisFormat
from ptmtorrent.model.findings import Level

MAX_OPCODES = 3_000_000
"""Limit of opcodes of a file, about five seconds."""

MAX_PICKLES = 256
MAX_DEPTH = 4
MAX_MEMO = 400_000
_MAX_TEXT = 256
_MAX_NESTED = 1 << 20
_WINDOW = 64 << 10
_MAX_LINE = 1 << 20

START = re.compile(
    rb"\x80[\x00-\x05]"
    rb"|[(\])}lidN]{0,4}c[A-Za-z_][\w.]{0,120}\r?\n[A-Za-z_][\w.]{0,120}\r?\n"
    rb"|\([^\n]{0,200}i[A-Za-z_][\w.]{0,120}\r?\n[A-Za-z_][\w.]{0,120}\r?\n"
    rb"|\((?:dp|lp|tp|l|d|t)[0-9]{1,3}\r?\n"
    rb"|[\]})]q\x00"
)
"""How pickles begin: a protocol; or, in protocols 0 and 1, a global, an instance, or an empty container."""

_NAME = rb"([A-Za-z_][\w.]{0,120})"
_BURIED = re.compile(
    rb"[ci]" + _NAME + rb"\r?\n" + _NAME + rb"\r?\n"
    rb"|\x8c." + _NAME + rb"(?:\x94|q.|r....)?\x8c." + _NAME + rb"(?:\x94|q.|r....)?\x93"
    rb"|X.\x00\x00\x00" + _NAME + rb"(?:\x94|q.|r....)?X.\x00\x00\x00" + _NAME + rb"(?:\x94|q.|r....)?\x93",
    re.DOTALL,
)


class Global(msgspec.Struct, frozen=True, gc=False):
    """A global that a pickle imports."""

    module: str
    name: str

    @property
    def whole(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


class Made(msgspec.Struct, frozen=True):
    """What a call of a global returned, or an instance of it."""

    by: Global
    arguments: tuple[Any, ...]


_MARK = object()
_JOBLIB = Global("joblib.numpy_pickle", "NumpyArrayWrapper")
_DTYPE_WIDTH = re.compile(r"[<>|=]?[a-zA-Z]([0-9]{1,4})")


class Cursor:
    """Reads a source from front to back, a window at a time."""

    def __init__(self, source: ByteSource, at: int) -> None:
        self.source = source
        self.at = at
        self._held = b""
        self._held_at = at

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes.

        Raises:
            NotThisFormat: there are fewer.
        """
        start = self.at - self._held_at
        if not 0 <= start <= len(self._held) - length:
            self._held = self.source.read(self.at, max(length, _WINDOW))
            self._held_at, start = self.at, 0
            if len(self._held) < length:
                raise NotThisFormat
        self.at += length
        return self._held[start : start + length]

    def line(self) -> bytes:
        """Return the bytes up to the next line feed, which is skipped.

        Raises:
            NotThisFormat: there is none within 1 MiB.
        """
        found = b""
        while len(found) < _MAX_LINE:
            self.take(1)
            start = self.at - 1 - self._held_at
            end = self._held.find(b"\n", start)
            if end >= 0:
                self.at = self._held_at + end + 1
                return found + self._held[start:end]
            found += self._held[start:]
            self.at = self._held_at + len(self._held)
        raise NotThisFormat

    def skip(self, length: int) -> None:
        """Advance by `length` bytes.

        Raises:
            NotThisFormat: there are fewer.
        """
        if length < 0 or self.at + length > self.source.size:
            raise NotThisFormat
        self.at += length


class Walker:
    """Walks the pickles of one file, which is called `file` in the findings."""

    def __init__(self, source: ByteSource, file: str, findings: Findings, depth: int = 0) -> None:
        self._source = source
        self._file = file
        self._findings = findings
        self._depth = depth
        self._opcodes = 0
        self._seen: set[str] = set()
        self.pickles = 0

    def walk(self, start: int = 0, *, certain: bool = True) -> int:
        """Walk the pickle at `start` and those that follow it; return where the last one that ended did.

        With `certain` a damaged first pickle is a finding.
        """
        at = start
        while self.pickles < MAX_PICKLES:
            walk = _Walk(Cursor(self._source, at), self._add, self._nested, self._spend)
            try:
                walk.run()
            except NotThisFormat:
                if walk.has_called or (certain and not self.pickles):
                    self._add("damaged", "suspicious", "the pickle is damaged or cut short after its first opcodes", at)
                break
            except _Limit:
                self._add("unread", "suspicious", "too long to be read to its end", walk.cursor.at)
                break
            self.pickles += 1
            at = walk.cursor.at
            if START.match(self._source.read(at, 512)) is None:
                break
        return at

    def _spend(self) -> None:
        self._opcodes += 1
        if self._opcodes > MAX_OPCODES:
            raise _Limit

    def _nested(self, data: bytes, offset: int) -> None:
        """Walk bytes in a pickle that are a pickle themselves."""
        if self._depth < MAX_DEPTH and START.match(data) is not None:
            Walker(MemorySource(data), f"{self._file}!{offset}", self._findings, self._depth + 1).walk(certain=False)

    def _add(self, rule: str, level: Level, meaning: str, offset: int) -> None:
        if meaning not in self._seen:
            self._seen.add(meaning)
            self._findings.add(self._file, rule, level, meaning, offset)


class _Limit(Exception):
    pass


Add = Callable[[str, Level, str, int], None]


class _Walk:
    """Stack and memo of the walk over one pickle."""

    def __init__(
        self, cursor: Cursor, add: Add, nested: Callable[[bytes, int], None], spend: Callable[[], None]
    ) -> None:
        self.cursor = cursor
        self.has_called = False
        self._add = add
        self._nested = nested
        self._spend = spend
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._memo_size = 0
        self._at = cursor.at

    def run(self) -> None:
        """Walk to the end of the pickle.

        Raises:
            NotThisFormat: it is damaged.
        """
        cursor = self.cursor
        try:
            while True:
                self._spend()
                self._at = cursor.at
                code = cursor.take(1)[0]
                if (width := _SIMPLE.get(code)) is not None:
                    self._stack.append(int.from_bytes(cursor.take(width), "little") if width else None)
                    continue
                opcode = _OPCODES.get(code)
                if opcode is None:
                    raise NotThisFormat
                if opcode.name == "STOP":
                    return
                self._step(opcode, self._argument(opcode))
        except (IndexError, ValueError, struct.error, OverflowError) as error:
            raise NotThisFormat from error

    def _argument(self, opcode: pickletools.OpcodeInfo) -> Any:  # noqa: ANN401  # text, bytes, number or None
        kind = opcode.arg
        if kind is None:
            return None
        if kind.name == "stringnl_noescape_pair":
            return (_text(self.cursor.line()), _text(self.cursor.line()))
        if kind.n == pickletools.UP_TO_NEWLINE:
            return _text_line(opcode.name, self.cursor.line())
        if kind.n >= 0:
            return int.from_bytes(self.cursor.take(kind.n), "little")
        return self._counted(opcode, int.from_bytes(self.cursor.take(_LENGTH_BYTES[kind.n]), "little"))

    def _counted(self, opcode: pickletools.OpcodeInfo, length: int) -> str | None:
        """Return a text of `length` bytes, if it is not too long; walk bytes that are a pickle."""
        at = self.cursor.at
        is_text = "UNICODE" in opcode.name
        if length > (4 * _MAX_TEXT if is_text else _MAX_NESTED):
            head = self.cursor.take(min(length, 512))
            self.cursor.at = at
            self.cursor.skip(length)
            if not is_text and START.match(head) is not None:
                self._nested(self.cursor.source.read(at, _MAX_NESTED), at)
            return None
        data = self.cursor.take(length)
        if is_text:
            return data.decode("utf-8", "replace")[:_MAX_TEXT]
        if opcode.name.startswith(("BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8")) and len(data) > 2:
            self._nested(data, at)
        return data.decode("latin-1") if "STRING" in opcode.name and len(data) <= _MAX_TEXT else None

    def _step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: ANN401
        stack, name = self._stack, opcode.name
        match name:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._keep(int(argument), stack[-1])
            case "MEMOIZE":
                self._keep(self._memo_size, stack[-1])
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo.get(int(argument)))
            case "GLOBAL":
                stack.append(self._import(*argument))
            case "STACK_GLOBAL":
                second, first = stack.pop(), stack.pop()
                stack.append(self._import(first, second))
            case "DUP":
                stack.append(stack[-1])
            case "INST":
                arguments = self._pop_to_mark()
                stack.append(self._call(self._import(*argument), tuple(arguments)))
            case "EXT1" | "EXT2" | "EXT4":
                self._add("extension", "suspicious", f"imports whatever extension code {argument} is", self._at)
                stack.append(None)
            case "BUILD":
                self._build()
            case _:
                self._others(opcode, argument)

    def _others(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:  # noqa: ANN401
        taken = self._pop(opcode)
        name = opcode.name
        if name == "REDUCE":
            result = self._call(taken[0], taken[1] if isinstance(taken[1], tuple) else None)
        elif name == "OBJ":
            result = self._call(taken[0], tuple(taken[1:])) if taken else None
        elif name in {"NEWOBJ", "NEWOBJ_EX"}:
            result = self._call(taken[0], taken[1] if isinstance(taken[1], tuple) else None)
        elif name in {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"}:
            result = tuple(taken[:64])
        elif name == "EMPTY_DICT":
            result = {}
        elif name in {"SETITEM", "SETITEMS", "DICT"}:
            result = self._fill(taken, name)
        else:
            for kind in opcode.stack_after:
                self._stack.append(_MARK if kind is pickletools.markobject else _label(argument))
            return
        self._stack.append(result)

    @staticmethod
    def _fill(taken: list[Any], name: str) -> Any:  # noqa: ANN401
        target, pairs = ({}, taken) if name == "DICT" else (taken[0], taken[1:])
        if isinstance(target, dict) and len(target) < 64:
            for key, value in zip(pairs[:128:2], pairs[1:128:2], strict=False):
                if isinstance(key, str):
                    target[key] = value
        return target

    def _keep(self, key: int, value: object) -> None:
        self._memo_size += 1
        if value is not None and (len(self._memo) < MAX_MEMO or isinstance(value, (Global, Made))):
            self._memo[key] = value

    def _pop_to_mark(self) -> list[Any]:
        taken: list[Any] = []
        while (top := self._stack.pop()) is not _MARK:
            taken.append(top)
        return taken[::-1]

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        before = opcode.stack_before
        if pickletools.stackslice in before:
            taken = self._pop_to_mark()
            below = [self._stack.pop() for kind in before if kind not in _SLICE]
            return (below + taken) if before[0] not in _SLICE else taken
        if before == [pickletools.markobject]:
            return self._pop_to_mark()
        taken = [self._stack.pop() for _ in before]
        if any(one is _MARK for one in taken) and opcode.name != "POP":
            raise NotThisFormat
        return taken[::-1]

    def _import(self, module: object, name: object) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            sure: Level = "runs-code" if len(self._memo) < MAX_MEMO else "suspicious"
            self._add("computed-import", sure, "imports a global whose name is computed while it is loaded", self._at)
            return Global("?", "?")
        found = Global(module[:_MAX_TEXT], name[:_MAX_TEXT])
        if len(module) >= _MAX_TEXT or len(name) >= _MAX_TEXT:
            self._add("import", "suspicious", f"imports a global with an overlong name `{found.whole[:80]}`", self._at)
        level = judge(found.module, found.name)
        if level == "runs-code" and not _is_getattr(found):
            self._add("import", level, f"runs code when loaded: `{found.whole}`", self._at)
        elif level == "suspicious":
            self._add("import", level, f"imports `{found.whole}` when loaded, which no common framework has", self._at)
        return found

    def _call(self, target: object, arguments: tuple[Any, ...] | None) -> object:
        self.has_called = True
        if isinstance(target, Made):
            whole = target.by.whole
            if judge(target.by.module, target.by.name) is not None or not whole.startswith("functools.partial"):
                self._add("call", "suspicious", f"calls what `{whole}` returned", self._at)
            return None
        if not isinstance(target, Global):
            return None
        if _is_getattr(target):
            return self._attribute(arguments)
        if target.name == "partial" and arguments and isinstance(arguments[0], Global):
            return Made(target, ())
        return Made(target, arguments or ())

    def _attribute(self, arguments: tuple[Any, ...] | None) -> object:
        """Judge `getattr(global, "name")`, as enumerations and methods are pickled."""
        match arguments:
            case (Global() as owner, str(name), *_) if owner.module != "?":
                whole = Global(owner.module, f"{owner.name}.{name}")
                level = judge(whole.module, whole.name)
                if level is not None:
                    does = "runs code" if level == "runs-code" else "imports"
                    self._add("import", level, f"{does} when loaded: `{whole.whole}` by `getattr`", self._at)
                return whole
            case (Made() as owner, str(name), *_) if (
                not name.startswith("_") and judge(owner.by.module, owner.by.name) is None
            ):
                self._add("import", "suspicious", f"takes `{name}` of a `{owner.by.whole}` by `getattr`", self._at)
                return Made(Global(owner.by.module, f"{owner.by.name}.{name}"), ())
            case _:
                self._add("import", "runs-code", "runs code when loaded: `builtins.getattr`", self._at)
                return Global("?", "?")

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Global):
            self._add("build", "runs-code", f"changes attributes of `{target.whole}` when loaded", self._at)
        elif isinstance(target, Made) and target.by == _JOBLIB and isinstance(state, dict):
            self._skip_array(state)

    def _skip_array(self, state: Mapping[str, Any]) -> None:
        """Skip the numbers that joblib writes behind the header of an array; walk the pickle of one of objects."""
        shape, dtype = state.get("shape"), state.get("dtype")
        kind = dtype.arguments[0] if isinstance(dtype, Made) and dtype.arguments else None
        if not isinstance(shape, tuple) or not isinstance(kind, str):
            raise NotThisFormat
        if kind.lstrip("<>|=").startswith("O"):
            _Walk(self.cursor, self._add, self._nested, self._spend).run()
            return
        width = _DTYPE_WIDTH.fullmatch(kind)
        if width is None or not all(isinstance(length, int) for length in shape):
            raise NotThisFormat
        if state.get("numpy_array_alignment_bytes") is not None:
            self.cursor.skip(self.cursor.take(1)[0])
        unit = 4 if kind.lstrip("<>|=").startswith("U") else 1
        self.cursor.skip(math.prod(shape) * int(width[1]) * unit)


def find_buried(data: bytes, at: int, file: str, findings: Findings) -> None:
    """Find imports of dangerous globals at any place of `data`, which lies at `at` in the file.

    That finds what stands behind the end of a pickle, in a pickle that does not parse, or in no pickle at all.
    """
    seen: set[str] = set()
    for match in _BURIED.finditer(data):
        module, name = (part.decode("latin-1") for part in match.groups() if part is not None)
        whole = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if whole not in seen and is_dangerous(whole) and judge(module, name) == "runs-code":
            seen.add(whole)
            findings.add(
                file, "buried-import", "runs-code", f"runs code if loaded from there: `{whole}`", at + match.start()
            )


def _is_getattr(found: Global) -> bool:
    return found.name == "getattr" and found.module in {"builtins", "__builtin__"}


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")[: 4 * _MAX_TEXT]


def _text_line(opcode: str, line: bytes) -> str | int | None:
    text = _text(line)
    if opcode in {"PUT", "GET"}:
        return int(text)
    if opcode in {"INT", "LONG"}:
        digits = text.rstrip("L")
        return int(digits) if digits.isdecimal() and len(digits) < 19 else None
    if opcode == "FLOAT":
        return None
    return text.strip("'\"")[:_MAX_TEXT]


def _label(argument: Any) -> Any:  # noqa: ANN401
    if isinstance(argument, str):
        return argument
    return argument if type(argument) is int and 0 <= argument < 1 << 62 else None


_OPCODES: Mapping[int, pickletools.OpcodeInfo] = MappingProxyType({ord(op.code): op for op in pickletools.opcodes})
_SIMPLE: Mapping[int, int] = MappingProxyType(
    {
        ord(op.code): 0 if op.arg is None else op.arg.n
        for op in pickletools.opcodes
        if not op.stack_before
        and len(op.stack_after) == 1
        and (op.arg is None or op.arg.n in {1, 2, 4, 8})
        and op.name not in {"MARK", "EMPTY_DICT", "EMPTY_TUPLE", "EXT1", "EXT2", "EXT4"}
        and "GET" not in op.name
    }
)
"""Opcodes that push one value, by the bytes of their arguments: numbers, None, empty lists and sets."""

_SLICE = (pickletools.markobject, pickletools.stackslice)
_LENGTH_BYTES: Mapping[int, int] = MappingProxyType(
    {
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }
)
