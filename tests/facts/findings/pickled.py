"""Writes pickles opcode by opcode, so that a sample can name globals that are not installed, or must not run."""

import struct

MARK, STOP, REDUCE, BUILD, TUPLE, EMPTY_TUPLE, EMPTY_DICT = b"(", b".", b"R", b"b", b"t", b")", b"}"


def start(protocol: int) -> bytes:
    return bytes([0x80, protocol]) if protocol >= 2 else b""


def text(value: str, protocol: int) -> bytes:
    data = value.encode()
    if protocol == 0:
        return b"S" + repr(value).encode() + b"\n"
    if protocol >= 4 and len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"I%d\n" % value


def imported(module: str, name: str, protocol: int) -> bytes:
    if protocol >= 4:
        return text(module, protocol) + b"\x94" + text(name, protocol) + b"\x94\x93"
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, arguments: bytes, protocol: int) -> bytes:
    """A global called with what the opcodes `arguments` push."""
    return imported(module, name, protocol) + MARK + arguments + TUPLE + REDUCE


def whole(body: bytes, protocol: int) -> bytes:
    return start(protocol) + body + STOP


def attack(module: str, name: str, argument: str, protocol: int = 2) -> bytes:
    return whole(call(module, name, text(argument, protocol), protocol), protocol)


def inst(module: str, name: str, argument: str) -> bytes:
    return MARK + text(argument, 0) + f"i{module}\n{name}\n.".encode()


def obj(module: str, name: str, argument: str) -> bytes:
    return start(2) + MARK + imported(module, name, 2) + text(argument, 2) + b"o."


def newobj(module: str, name: str, protocol: int = 2, state: bytes = b"") -> bytes:
    return whole(imported(module, name, protocol) + EMPTY_TUPLE + b"\x81" + (state + BUILD if state else b""), protocol)
