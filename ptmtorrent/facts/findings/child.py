"""The process in which files are scanned: `python -m ptmtorrent.facts.findings.child`.

It has no file but its pipe, no network, no further process, and a limit of memory and of processor time. A request is a
list of files with their sizes; while it is worked on, the child asks for ranges of them; then it answers with the scan.

Messages of both sides: length u32, JSON or bytes. The parent sends `{"files": [[name, size], ...]}`, the child
`{"read": [number, offset, length]}` any number of times, to which the parent sends the bytes, then `{"scan": {...}}`.
"""

import codecs
import os
import resource
import struct
import sys
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from ptmtorrent.facts.findings.corroborate import Corroborator, installed
from ptmtorrent.facts.findings.scan import scan_package
from ptmtorrent.model.containers.source import ByteSource

MEMORY_BYTES = 1 << 30
"""Limit of addresses of the child (1 GiB)."""

CPU_SECONDS = 60
"""Limit of processor time of one package."""

HEAD = struct.Struct("<I")
PAGE_BYTES = 64 << 10
MAX_PAGES = 128

_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "pty.",
    "pickle.find_class", "marshal.load", "ctypes.", "webbrowser.", "ftplib.", "http.", "smtplib.", "urllib.", "open",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.",
    "tempfile.", "sqlite3.", "exec", "import", "code.__new__", "mmap.",
)  # fmt: skip


_CODECS = tuple(
    """
    ascii latin-1 utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be unicode_escape
    raw_unicode_escape cp437 cp1252 idna punycode base64 hex rot13 zlib bz2
    """.split()  # noqa: SIM905  # a table, not a text
)
"""What hostile input may name to decode it: their modules are imported before imports are forbidden."""


class Request(msgspec.Struct):
    """The files to scan."""

    files: list[tuple[str, int]]


class Pipe:
    """Messages over two descriptors."""

    def __init__(self, reads: int, writes: int) -> None:
        self._in = os.fdopen(reads, "rb", buffering=1 << 17)
        self._out = os.fdopen(writes, "wb", buffering=0)

    def receive(self) -> bytes | None:
        """Return the next message; None at the end."""
        head = self._in.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        (length,) = HEAD.unpack(head)
        data = self._in.read(length)
        return data if len(data) == length else None

    def send(self, data: bytes) -> None:
        """Send a message."""
        view = memoryview(HEAD.pack(len(data)) + data)
        while view:
            view = view[self._out.write(view) :]


class RemoteFile:
    """A file of the parent, read through the pipe, a page at a time."""

    def __init__(self, pipe: Pipe, number: int, size: int) -> None:
        self._pipe = pipe
        self._number = number
        self._size = size
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer at the end."""
        end = min(offset + max(0, length), self._size)
        if offset >= end:
            return b""
        if end - offset > 4 * PAGE_BYTES:
            return self._ask(offset, end - offset)
        first, last = offset // PAGE_BYTES, (end - 1) // PAGE_BYTES
        data = b"".join(self._page(page) for page in range(first, last + 1))
        return data[offset - first * PAGE_BYTES : end - first * PAGE_BYTES]

    def _page(self, page: int) -> bytes:
        if page not in self._pages:
            if len(self._pages) >= MAX_PAGES:
                self._pages.popitem(last=False)
            self._pages[page] = self._ask(page * PAGE_BYTES, min(PAGE_BYTES, self._size - page * PAGE_BYTES))
        return self._pages[page]

    def _ask(self, offset: int, length: int) -> bytes:
        self._pipe.send(msgspec.json.encode({"read": (self._number, offset, length)}))
        data = self._pipe.receive()
        if data is None or len(data) != length:
            sys.exit(1)
        return data


def confine() -> None:
    """Give up everything but the pipe: limits, then a hook that ends what is forbidden."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    sys.setrecursionlimit(2000)
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import" and arguments[0] == "numpy":  # it fails, where numpy was not imported before
        return
    if event.startswith(_FORBIDDEN):
        os.write(2, f"a scanner tried `{event}`\n".encode())
        os._exit(70)


def main() -> None:
    """Scan packages until the pipe ends."""
    wide = "--all" in sys.argv
    if not wide:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # picklescan imports it for arrays, which our rules read
    tools = list(installed(all_=wide))
    _warm(tools)
    pipe = Pipe(sys.stdin.fileno(), os.dup(sys.stdout.fileno()))
    os.dup2(2, sys.stdout.fileno())
    confine()
    while (message := pipe.receive()) is not None:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(spent.ru_utime + spent.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        request = msgspec.json.decode(message, type=Request)
        files = [(name, RemoteFile(pipe, number, size)) for number, (name, size) in enumerate(request.files)]
        scan = scan_package(files, tools)
        pipe.send(msgspec.json.encode({"scan": scan}))


def _warm(tools: Sequence[Corroborator]) -> None:
    """Import what scanning needs before imports are forbidden, by scanning what uses it."""
    import io
    import pickle
    import tarfile
    import zipfile

    from ptmtorrent.model.containers.source import MemorySource

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", pickle.dumps({"a": [1, "é"]}))
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pkl"), io.BytesIO())
    template = b'{"chat_template": "{% generation %}{{ a.b | upper }}{% endgeneration %}"}'
    files: list[tuple[str, ByteSource]] = [
        ("a.pt", MemorySource(packed.getvalue())),
        ("a.tar", MemorySource(tarred.getvalue())),
        ("a.pkl", MemorySource(pickle.dumps([1.5, b"x", {"é": 2}]))),
        ("tokenizer_config.json", MemorySource(template)),
        (
            "a.npy",
            MemorySource(b"\x93NUMPY\x01\x00\x36\x00{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }\n"),
        ),
        ("a.py", MemorySource(b"import os\nos.sep\n")),
    ]
    scan_package(files, tools)
    for name in _CODECS:
        codecs.lookup(name)


if __name__ == "__main__":
    main()
