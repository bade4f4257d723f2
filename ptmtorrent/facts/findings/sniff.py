"""What a file is, by its first bytes; its name decides only about texts."""

import re
from typing import Literal

from ptmtorrent.facts.findings.pickles import START as PICKLE_START
from ptmtorrent.model.containers import gguf, npy, safetensors, tar
from ptmtorrent.model.containers.hdf5 import MAGIC as HDF5_MAGIC

Kind = Literal[
    "pickle", "zip", "tar", "7z", "packed", "npy", "hdf5", "gguf", "safetensors", "onnx", "python", "json", "template",
    "savedmodel", "binary", "text",
]  # fmt: skip

HEAD_BYTES = 512

_PACKED = re.compile(rb"\x1f\x8b\x08|BZh[1-9]|\xfd7zXZ\x00|\x5d\x00\x00[\x00-\xff]|\x78[\x01\x5e\x9c\xda]")
"""gzip, bzip2, xz, lzma, zlib, which joblib writes."""

_ONNX = re.compile(rb"\x08[\x01-\x14](?:\x12|\x1a|\x22|:|B|r)")
_PICKLE_NAMES = re.compile(r"(?i)\.(pt|pth|pkl|pickle|bin|ckpt|joblib|dat|data|th|p|model|npy|npz|dill|mar)$")
_TEXT = re.compile(rb"[\x09\x0a\x0d\x20-\x7e\x80-\xff]*")


_BY_CONTENT: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (PICKLE_START, "pickle"),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), "zip"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"), "7z"),
    (tar.START, "tar"),
    (re.compile(re.escape(npy.MAGIC)), "npy"),
    (re.compile(re.escape(HDF5_MAGIC)), "hdf5"),
    (re.compile(re.escape(gguf.MAGIC)), "gguf"),
    (safetensors.START, "safetensors"),
    (_PACKED, "packed"),
)

_BY_NAME: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((".onnx",), "onnx"),
    ((".pb",), "savedmodel"),
    ((".py", ".pyc", ".pyw"), "python"),
    ((".json",), "json"),
    ((".jinja", ".jinja2", ".j2"), "template"),
)


def kind_of(name: str, head: bytes) -> Kind:
    """Return what the file `name` that begins with `head` is."""
    for pattern, kind in _BY_CONTENT:
        if pattern.match(head):
            return kind
    lower = name.lower()
    for endings, kind in _BY_NAME:
        if lower.endswith(endings):
            return kind
    if _TEXT.fullmatch(head):
        return "text"
    return "onnx" if _ONNX.match(head) else "binary"


def is_pickle_name(name: str) -> bool:
    """Return whether programs load a file of this name as a pickle."""
    return _PICKLE_NAMES.search(name) is not None
