"""Small documents with huge contents, and every reader of documents from outside.

Run as a program, it reads the names of readers, gives each bomb of a reader to it in a process of its own, and prints
peak memory and time of each, and an empty line after the last.
"""

import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator

from ptmtorrent.errors import PtmError
from ptmtorrent.facts.base_models import base_models
from ptmtorrent.hubs.client.redact import redact_json
from ptmtorrent.hubs.huggingface.discussions import _decode as read_discussions
from ptmtorrent.hubs.huggingface.records import read_files, read_listed, split_page
from ptmtorrent.hubs.kaggle.records import read_object
from ptmtorrent.hubs.modelhub.adapter import read_init
from ptmtorrent.hubs.modelhub.config import _parse as read_config
from ptmtorrent.hubs.modelzoo import read_catalogue
from ptmtorrent.hubs.onnx.records import read_manifest
from ptmtorrent.hubs.pytorch.cards import read_card, read_hubconf
from ptmtorrent.hubs.record import read_answer
from ptmtorrent.model import bencode, bounds, canonical
from ptmtorrent.model.canonical import MAX_DOCUMENT_BYTES, encode_columns
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import encode_manifest, objects_in
from ptmtorrent.model.placement import Head, decode_placement
from ptmtorrent.model.release import Release
from ptmtorrent.store.cutters import cut
from ptmtorrent.trust.metadata import parse_metadata, timestamp_version
from tests.model.generated import manifest_of

LIMIT = canonical.MAX_DOCUMENT_BYTES

UNITS: dict[str, bytes] = {
    "lists": b"[]",
    "full lists": b"[0,[]]",
    "dicts": b"{}",
    "full dicts": b'{"a":{}}',
    "ints": b"1",
    "large ints": b"5000000000000000000",
    "strings": b'""',
    "short strings": b'"ab"',
    "wide strings": '"é€😀"'.encode(),
    "escapes": b'"\\u20ac\\ud83d\\ude00"',
    "spots": b"[0,500000,500000,2,-1]",
}


def json_bombs(head: bytes, tail: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield for each kind the largest bomb that is let through, and for some one of 16 MiB."""
    for kind, unit in UNITS.items():
        for whole in (True, False) if kind in {"lists", "ints", "wide strings", "escapes"} else (False,):
            count = (LIMIT - len(head + tail)) // (len(unit) + 1)
            if not whole:
                count = min(
                    count, int(0.99 * bounds.MAX_MEMORY_BYTES * 1000 / bounds.json_memory((unit + b",") * 1000))
                )
            yield f"{kind}{'' if whole else ', let through'}", head + (unit + b",") * (count - 1) + unit + tail
    yield "depth", head + b"[" * 4_000_000 + b"]" * 4_000_000 + tail
    yield "long key", head + b'{"' + b"k" * (LIMIT - 1000) + b'":0}' + tail
    yield "long key, let through", head + b'{"' + b"k" * 8_000_000 + b'":0}' + tail
    yield "long text, let through", head + b'"' + b"a" * 8_000_000 + b'"' + tail
    yield "one wide text", head + '"😀'.encode() + b"a" * 7_000_000 + b'"' + tail
    yield "many keys", head + b"{" + b",".join(b'"%x":0' % key for key in range(300_000)) + b"}" + tail
    yield "huge number", head + b"9" * (LIMIT - 1000) + tail
    yield "huge fraction", head + b"0." + b"9" * (LIMIT - 1000) + tail


def bencode_bombs() -> Iterator[tuple[str, bytes]]:
    for kind, unit in {
        "lists": b"le",
        "dicts": b"de",
        "ints": b"i1e",
        "strings": b"0:",
        "full": b"d1:ale1:bdee",
    }.items():
        yield kind, b"l" + unit * (LIMIT // len(unit) - 1) + b"e"
        yield f"{kind}, few", b"l" + unit * 60_000 + b"e"
    yield "depth", b"l" * LIMIT
    yield "number", b"i" + b"9" * (LIMIT - 2) + b"e"
    yield "long key", b"d%d:" % (LIMIT - 30) + b"k" * (LIMIT - 30) + b"i1ee"


def card_bombs() -> Iterator[tuple[str, bytes]]:
    fronts = {
        "flow": "x: [" + "[]," * 20_000 + "]",
        "depth": "x: " + "[" * 60_000,
        "brackets": "x: " + "[" * 499,
        "dashes": "- " * 30_000,
        "indents": "\n".join(" " * n + "a:" for n in range(300)),
        "keys": "\n".join(f"k{key}: 1" for key in range(6000)),
        "aliases": "a: &a [1]\n" + "\n".join(f"b{n}: [*a, *a]" for n in range(2000)),
        "question marks": "? " * 30_000,
        "number": "x: " + "9" * 65_000,
        "sexagesimal": "x: " + ":".join(["59"] * 20_000),
        "long key": "k" * 65_000 + ": 1",
    }
    for kind, front in fronts.items():
        yield kind, f"---\n{front}\n---\n".encode()
    yield "loads", b"---\na: b\n---\n" + b"hub.load(" * 100_000
    yield "spaces", b"---\na: b\n---\nhub.load(" + b" " * 1_000_000


def python_bombs() -> Iterator[tuple[str, bytes]]:
    for kind, unit in {
        "names": b"a,",
        "calls": b"a()\n",
        "numbers": b"1,",
        "signs": b"-a\n",
        "functions": b"def f():0\n",
        "texts": b"'',",
        "lambdas": b"lambda:0\n",
    }.items():
        yield kind, unit * (1_000_000 // len(unit))
        yield f"{kind}, few", unit * 15_000
    yield "depth", b"(" * 500_000
    yield "signs, deep", b"-" * 500_000
    yield "number", b"9" * 500_000


def header_bombs() -> Iterator[tuple[str, bytes]]:
    """Yield headers of weights: names of files, a line break, and the bytes."""
    entry = b'"%06d":{"dtype":"U8","shape":[],"data_offsets":[0,0]}'
    rows = b",".join(entry % number for number in range(200_000))[: 16 << 20]
    yield "safetensors entries", _safetensors(b"{" + rows + b"}")
    few = b",".join(entry % number for number in range(99_000))
    yield "safetensors entries, few", _safetensors(b"{" + few + b"}")
    yield "safetensors depth", _safetensors(b'{"a":' + b"[" * 8_000_000)
    yield "safetensors metadata", _safetensors(b'{"__metadata__":{' + b",".join(b'"%x":""' % n for n in range(99_000)))
    yield "gguf strings", _gguf(0, 1, _gguf_strings(3_999_999))
    yield "gguf keys", _gguf(0, 100_000, b"".join(_text(b"%d" % n) + struct.pack("<IB", 0, 0) for n in range(100_000)))
    yield "gguf depth", _gguf(0, 1, _text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100_000)
    yield "onnx nodes", b"m.onnx\n" + _field(7, _field(1, b"") * 4_000_000)
    yield "onnx tensors", b"m.onnx\n" + _field(7, _field(5, b"") * 4_000_000)
    graph = b""
    for _ in range(2000):
        graph = _field(1, _field(5, _field(6, graph)))
    yield "onnx depth", b"m.onnx\n" + _field(7, graph)
    yield "zip members", b"m.zip\n" + _zip(300_000)
    yield "zip members, few", b"m.zip\n" + _zip(65_000)
    for kind, code in {"marks": b"(", "nones": b"N", "tuples": b")", "ints": b"K\1", "dups": b"N" + b"2" * 99}.items():
        yield f"pickle {kind}", b"m.pt\n" + b"\x80\2" + code * (4_000_000 // len(code)) + b"."


def _safetensors(header: bytes) -> bytes:
    return b"m.safetensors\n" + struct.pack("<Q", len(header)) + header


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _gguf(tensors: int, keys: int, rest: bytes) -> bytes:
    return b"m.gguf\n" + struct.pack("<4sIQQ", b"GGUF", 3, tensors, keys) + rest


def _gguf_strings(count: int) -> bytes:
    return _text(b"tokens") + struct.pack("<IIQ", 9, 8, count) + bytes(8) * count


def _field(number: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _zip(count: int) -> bytes:
    local = struct.pack("<4s5HIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    rows = b"".join(
        struct.pack("<4s6H3I5HII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, at * len(local)) + b"a"
        for at in range(count)
    )
    start = count * len(local)
    small = min(count, 0xFFFF)
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, small, small, len(rows), start, 0)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(rows), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(rows), 1)
    return local * count + rows + end64 + locator + end


class _Memory:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])


def _cut(data: bytes) -> object:
    name, _, rest = data.partition(b"\n")
    return cut(_Memory(rest), name.decode())


def _decoded(data: bytes) -> object:
    return canonical.decode(data, Head, name="the head of a placement")


def _placed(data: bytes) -> object:
    return decode_placement(data, ONE, encode_manifest(ONE)[1])


def column_bombs() -> Iterator[tuple[str, bytes]]:
    """Placements of one object that list hundreds of thousands of packs or bases."""
    for column, width in (("packs", 36), ("bases", 49)):
        rows = (MAX_DOCUMENT_BYTES - (1 << 10)) // width
        counts = {"bases": 0, "forms": 1, "links": 0, "objects": 1, "packs": 1, column: rows}
        head = Head(format=Head.FORMAT, version=2, requires=(), snapshot=encode_manifest(ONE)[1], **counts)
        ids = b"".join(number.to_bytes(32, "big") for number in range(rows))
        if column == "packs":
            columns = [ids, b"\1\0\0\0" * rows, b"\1", bytes(13), b"\0"]
        else:
            columns = [ids[:32], b"\1\0\0\0", b"\1", bytes(13), b"\0", ids, bytes(17 * rows)]
        yield column, encode_columns(b"PTMPLACE", head, *columns)


ONE = manifest_of("hf:org/name", [("a", b"a")])
PLACEMENT = b'{"bases":0,"format":"ptmtorrent/placement","forms":['
AFTER = b'],"requires":[],"snapshot":"' + b"a" * 64 + b'","version":2}'

READERS: dict[str, tuple[Callable[[bytes], object], Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "columns of a placement": (_placed, column_bombs),
    "placement": (_decoded, lambda: json_bombs(PLACEMENT, AFTER)),
    "objects of a manifest": (
        lambda data: objects_in(data, SnapshotId("0" * 64)),
        lambda: json_bombs(b'{"objects":[', b"]}"),
    ),
    "release": (lambda data: canonical.decode(data, Release, name="r"), lambda: json_bombs(b'{"a":[', b"]}")),
    "TUF metadata": (lambda data: parse_metadata(data, _targets()), lambda: json_bombs(b'{"signed":[', b"]}")),
    "timestamp": (timestamp_version, lambda: json_bombs(b'{"signed":{"version":[', b"]}}")),
    "record of Hugging Face": (read_listed, lambda: json_bombs(b'{"id":"a/b","tags":[', b"]}")),
    "page of Hugging Face": (lambda data: split_page(data, "a page"), lambda: json_bombs(b"[", b"]")),
    "tree of Hugging Face": (lambda data: read_files([data], "a tree"), lambda: json_bombs(b"[", b"]")),
    "discussions": (lambda data: read_discussions(data, "d"), lambda: json_bombs(b'{"discussions":[', b"]}")),
    "answer without addresses": (redact_json, lambda: json_bombs(b'["@",', b"]")),
    "record of any hub": (lambda data: read_answer(data.decode()), lambda: json_bombs(b'{"a":[', b"]}")),
    "base models": (lambda data: base_models((), data), lambda: json_bombs(b'{"cardData":{"base_model":[', b"]}}")),
    "answer of Kaggle": (lambda data: read_object(data, "k"), lambda: json_bombs(b'{"a":[', b"]}")),
    "manifest of ONNX": (read_manifest, lambda: json_bombs(b'[{"a":[', b"]}]")),
    "init of Modelhub": (read_init, lambda: json_bombs(b'{"external_contrib_files":[', b"]}")),
    "config of Modelhub": (read_config, lambda: json_bombs(b'{"a":[', b"]}")),
    "catalogue of ModelZoo": (lambda data: read_catalogue(data, "z"), lambda: json_bombs(b'{"models":[', b"]}")),
    "torrent": (lambda data: bencode.decode(data, name="t"), bencode_bombs),
    "card": (read_card, card_bombs),
    "hubconf.py": (read_hubconf, python_bombs),
    "header of weights": (_cut, header_bombs),
}


def _targets() -> type:
    from tuf.api.metadata import Targets

    return Targets


def measure(read: Callable[[bytes], object], data: bytes) -> tuple[int, float, str]:
    """Return the MiB of memory that `read` takes of `data` beside it, the seconds of CPU, and how it ended."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        try:
            read(data)
            end = "read"
        except PtmError as error:
            end = type(error).__name__
        except BaseException as error:  # noqa: BLE001  # it is what is looked for
            end = f"raised {type(error).__name__}: {error}"[:200]
        seconds = time.process_time() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(send, json.dumps([grown >> 10, seconds, end]).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    grown, seconds, end = json.loads(text) if text else (-1, -1.0, "raised nothing, it was killed")
    return grown, seconds, end


def measure_all(reader: str) -> None:
    """Print a line for each bomb of one reader: its kind and size, and what `measure` found."""
    read, bombs = READERS[reader]
    for kind, data in bombs():
        sys.stdout.write(json.dumps([kind, len(data), *measure(read, data)]) + "\n")


if __name__ == "__main__":
    for line in sys.stdin:  # a process for each reader: what one frees would hide what the next one takes
        if (child := os.fork()) == 0:
            measure_all(line.strip())
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        sys.stdout.write("\n")
        sys.stdout.flush()
