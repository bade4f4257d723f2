"""What the headers of weights name besides numbers: templates, custom operators, layers of code, other files.

The bounded parsers of `model/containers` read them; what these refuse is searched for the same names within bounds.
"""

import re
from collections.abc import Iterator

from ptmtorrent.facts.findings.archives import Inner
from ptmtorrent.facts.findings.found import Findings
from ptmtorrent.facts.findings.pickles import START, Walker, find_buried
from ptmtorrent.facts.findings.templates import scan_template
from ptmtorrent.model.containers.gguf import Gguf
from ptmtorrent.model.containers.onnx_fields import tensors as onnx_tensors
from ptmtorrent.model.containers.reading import Reader
from ptmtorrent.model.containers.safetensors import Safetensors
from ptmtorrent.model.containers.source import ByteSource, NotThisFormat, Section
from ptmtorrent.model.findings import Level

SEARCHED = 4 << 20
"""Bytes at the start that are searched for names (4 MiB), and a quarter of it at the end."""

_ONNX_DOMAINS = re.compile(r"|ai\.onnx(\.ml|\.training|\.preview(\.training)?)?|com\.microsoft(\.\w+)*|com\.ms\.\w+")
_ONNX_EXTENSIONS = re.compile(r"ai\.onnx\.contrib|ai\.onnx\.ml\.contrib")
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"(Lambda|\w*>Lambda)"')
_BYTECODE = re.compile(rb'"class_name"\s*:\s*"__lambda__"|"function_type"\s*:\s*"lambda"')
_OPS = re.compile(rb"\x12[\x06-\x14]((?:Eager)?PyFunc(?:Stateless)?|WriteFile|ReadFile|MatchingFiles)[\x1a\x22*\x12]")
_OBJECT_ARRAY = re.compile(rb"'descr': *(?:'\|?O[0-9]*'|\[.*?'\|?O[0-9]*')", re.DOTALL)
_MAX_NPY_HEADER = 64 << 10


def scan_gguf(source: ByteSource, file: str, findings: Findings) -> None:
    """Scan the chat templates in the header of a GGUF file."""
    try:
        header = Gguf(source)
    except NotThisFormat:
        meaning = "a GGUF header whose counts or types contradict the file; readers may overflow on it"
        findings.add(file, "header", "suspicious", meaning, 0)
        return
    for name, at, length in header.templates:
        text = source.read(at, min(length, 1 << 20)).decode("utf-8", "replace")
        scan_template(text, f"{file}!{name}", findings, at)


def scan_safetensors(source: ByteSource, file: str, findings: Findings, inner: Inner) -> None:
    """Scan what lies behind the last tensor of a safetensors file, and refuse headers that readers disagree about."""
    try:
        header = Safetensors(source)
        end = max((tensor.offset + tensor.length for tensor in header.tensors()), default=header.start)
    except NotThisFormat:
        findings.add(file, "header", "suspicious", "a safetensors header that its readers disagree about", 0)
        search(source, file, findings)
        return
    if end < source.size:
        findings.add(file, "trailer", "suspicious", f"{source.size - end} bytes behind the last tensor", end)
        inner(Section(source, end, source.size - end), f"{file}!{end}")


def scan_onnx(source: ByteSource, file: str, findings: Findings) -> None:
    """Scan the operator domains of an ONNX model, and where its external data lie."""
    seen: set[str] = set()
    try:
        for domain in _domains(source):
            if not _ONNX_DOMAINS.fullmatch(domain):
                level: Level = "notice" if _ONNX_EXTENSIONS.fullmatch(domain) else "suspicious"
                findings.add(file, "custom-operator", level, f"needs a library with the operators of `{domain}`")
        for tensor in onnx_tensors(source, lambda _: True):
            place = (tensor.external or {}).get("location", "")
            if place not in seen and leads_out(place):
                seen.add(place)
                meaning = f"reads `{place}`, which is outside of the package, as external data"
                findings.add(file, "leads-out", "suspicious", meaning)
    except NotThisFormat:
        if file.endswith(".onnx"):
            findings.add(file, "header", "notice", "an ONNX model that does not parse, or too large to be read")
        search(source, file, findings)


def _domains(source: ByteSource) -> Iterator[str]:
    """Yield the domains of `ModelProto.opset_import` (8: OperatorSetIdProto { domain 1, version 2 })."""
    reader = Reader(source, 0, source.size, 4 << 10)
    while reader.at < reader.end:
        tag = reader.varint()
        if tag & 7 == 0:
            reader.varint()
            continue
        if tag & 7 != 2:
            raise NotThisFormat
        length = reader.varint()
        if tag >> 3 != 8:
            reader.skip(length)
            continue
        if length > 4096:
            raise NotThisFormat
        message = reader.take(length)
        if message[:1] == b"\x0a":
            yield message[2 : 2 + message[1]].decode("utf-8", "replace")


def leads_out(place: str) -> bool:
    """Return whether a location of external data leads out of the folder of the model."""
    parts = place.replace("\\", "/").split("/")
    return place.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]


def scan_keras(source: ByteSource, file: str, findings: Findings) -> None:
    """Scan the configuration of layers in an HDF5 file or a JSON text for layers of code."""
    for at, data in pieces(source):
        if match := _LAMBDA.search(data):
            how = "bytecode of a" if _BYTECODE.search(data) else "a"
            meaning = f"runs code when loaded: {how} Keras `Lambda` layer"
            findings.add(file, "keras-lambda", "runs-code", meaning, at + match.start())
            return


def scan_savedmodel(source: ByteSource, file: str, findings: Findings) -> None:
    """Scan the operators of a TensorFlow graph for those that reach files or Python."""
    for at, data in pieces(source):
        for match in _OPS.finditer(data):
            name = match[1].decode()
            meaning = f"the graph has the operator `{name}`, which reaches files or Python when it runs"
            findings.add(file, "graph-operator", "suspicious", meaning, at + match.start())
    search(source, file, findings)


def scan_npy(source: ByteSource, file: str, findings: Findings) -> None:
    """Walk the pickle of an array of objects."""
    head = source.read(0, 12)
    wide = head[6:7] > b"\x01"
    start = 12 + int.from_bytes(head[8:12], "little") if wide else 10 + int.from_bytes(head[8:10], "little")
    if start > min(_MAX_NPY_HEADER, source.size):
        findings.add(file, "header", "suspicious", "an array whose header is longer than numpy accepts", 0)
        return
    if _OBJECT_ARRAY.search(source.read(0, start)):
        Walker(source, file, findings).walk(start)
    elif START.match(source.read(start, 16)):
        Walker(source, file, findings).walk(start, certain=False)


def search(source: ByteSource, file: str, findings: Findings) -> None:
    """Search the start and the end of a file for pickles that stand in it."""
    for at, data in pieces(source):
        find_buried(data, at, file, findings)


def pieces(source: ByteSource, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the position and the bytes of what is searched of a file: its start and its end."""
    head = min(source.size, start + SEARCHED)
    yield start, source.read(start, head - start)
    tail = max(head - 512, source.size - SEARCHED // 4)
    if tail < source.size and head < source.size:
        yield tail, source.read(tail, source.size - tail)
