"""Reads the members of zips and tars, and what is compressed, within bounds: what is in them is scanned like a file.

A zip whose directory contradicts its members is a finding; its members are then found by their local headers, because
some loaders go by these. Flags that say a member is encrypted are not believed: loaders ignore them too.

Sources: PKWARE APPNOTE 6.3, section 4.3.7 (local header) and 4.4.5 (methods).
"""

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from ptmtorrent.facts.findings.found import Findings
from ptmtorrent.model.containers.source import ByteSource, MemorySource, NotThisFormat, Section
from ptmtorrent.model.containers.tar import read_tar
from ptmtorrent.model.containers.zip_directory import Directory, Member, data_of, read_directory
from ptmtorrent.model.text import spell_size

MAX_DEPTH = 4
MAX_INFLATED = 32 << 20
"""Limit of what one member is decompressed to; that what lies behind it is not read is a finding."""

MAX_MEMBERS = 20_000
_TOO_MANY = f"more than {MAX_MEMBERS:,} members, of which the others were not read"
_SEARCHED = 64 << 20
_WINDOW = 256 << 10
_LOCAL = struct.Struct("<4s5HIIIHH")
_LOCAL_MAGIC = re.compile(rb"PK\x03\x04")
_ENCRYPTED = 1

Inner = Callable[[ByteSource, str], None]
"""Scans the file of this name in an archive."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


_METHODS: Mapping[int, Callable[[], _Decompressor]] = MappingProxyType(
    {8: lambda: zlib.decompressobj(-15), 12: bz2.BZ2Decompressor}
)


def scan_zip(source: ByteSource, file: str, findings: Findings, inner: Inner) -> None:
    """Scan the members of a zip."""
    try:
        directory = read_directory(source)
    except NotThisFormat:
        meaning = "a zip whose directory is damaged or contradicts the file; loaders read it differently"
        findings.add(file, "zip-directory", "suspicious", meaning, 0)
        for at in _local_headers(source):
            _scan_local(source, at, None, file, findings, inner)
        return
    if directory.members and directory.members[0].header > 0:
        meaning = f"{directory.members[0].header} bytes before the first member of the zip"
        findings.add(file, "zip-prefix", "notice", meaning, 0)
    if len(directory.members) > MAX_MEMBERS:
        findings.add(file, "unread", "suspicious", _TOO_MANY)
    for member in directory.members[:MAX_MEMBERS]:
        _scan_member(source, member, file, findings, inner)
    for at in _hidden(source, directory):
        meaning = "a member of the zip that its directory does not list"
        findings.add(file, "zip-hidden", "suspicious", meaning, at)
        _scan_local(source, at, None, file, findings, inner)


def _scan_member(source: ByteSource, member: Member, file: str, findings: Findings, inner: Inner) -> None:
    name = f"{file}!{member.name.decode('utf-8', 'backslashreplace')}"
    if member.name.startswith(b"/") or b".." in member.name.split(b"/"):
        findings.add(name, "leads-out", "suspicious", "a name that leads out of the folder it is unpacked to")
    try:
        data_of(source, member)
    except NotThisFormat:
        meaning = "the directory of the zip contradicts the header of this member; loaders read it differently"
        findings.add(name, "zip-member", "suspicious", meaning, member.header)
    _scan_local(source, member.header, member, file, findings, inner)


def _scan_local(  # noqa: PLR0913, PLR0917  # where, and what is known of it
    source: ByteSource, at: int, member: Member | None, file: str, findings: Findings, inner: Inner
) -> None:
    """Scan the member whose local header is at `at`; `member` is what the directory says of it."""
    head = source.read(at, _LOCAL.size)
    if len(head) < _LOCAL.size:
        return
    _, _, flags, method, _, _, _, packed, plain, name_bytes, extra_bytes = _LOCAL.unpack(head)
    name = source.read(at + _LOCAL.size, min(name_bytes, 512)).decode("utf-8", "backslashreplace")
    start = at + _LOCAL.size + name_bytes + extra_bytes
    length = member.length if member is not None else packed or source.size - start
    data: ByteSource = Section(source, start, length)
    if flags & _ENCRYPTED:
        meaning = "flagged as encrypted, which loaders ignore and scanners believe"
        findings.add(f"{file}!{name}", "zip-encrypted", "suspicious", meaning, at)
    looks_stored = method == 0 or plain == packed == length
    if not looks_stored:
        unpack = _METHODS.get(method)
        if unpack is None:
            meaning = f"compressed by method {method}, which is not read"
            findings.add(f"{file}!{name}", "unread", "notice", meaning, at)
            return
        data = MemorySource(inflate(data, unpack(), f"{file}!{name}", findings))
    inner(data, f"{file}!{name}")


def _local_headers(source: ByteSource) -> Iterator[int]:
    """Yield where local headers of members may be, by their magic."""
    found, at = 0, 0
    while at < min(source.size, _SEARCHED) and found < MAX_MEMBERS:
        window = source.read(at, _WINDOW + 3)
        for match in _LOCAL_MAGIC.finditer(window):
            if match.start() < _WINDOW:
                found += 1
                yield at + match.start()
        at += _WINDOW


def _hidden(source: ByteSource, directory: Directory) -> Iterator[int]:
    """Yield local headers in the gaps between the members that the directory lists, and behind its end."""
    at = 0
    gaps = []
    for member in directory.members:
        if member.header - at > _LOCAL.size:
            gaps.append((at, member.header))
        head = source.read(member.header, _LOCAL.size)
        names = _LOCAL.unpack(head)[-2:] if len(head) == _LOCAL.size else (0, 0)
        at = member.header + _LOCAL.size + sum(names) + member.length
    if directory.start - at > _LOCAL.size:
        gaps.append((at, directory.start))
    for start, end in gaps[:64]:
        yield from (
            start + match.start() for match in _LOCAL_MAGIC.finditer(source.read(start, min(end - start, 4096)))
        )


def scan_tar(source: ByteSource, file: str, findings: Findings, inner: Inner) -> None:
    """Scan the regular files in a tar."""
    try:
        for count, member in enumerate(read_tar(source)):
            if count >= MAX_MEMBERS:
                findings.add(file, "unread", "suspicious", _TOO_MANY)
                return
            name = f"{file}!{member.name}"
            if member.name.startswith("/") or ".." in member.name.split("/"):
                findings.add(name, "leads-out", "suspicious", "a name that leads out of the folder it is unpacked to")
            inner(Section(source, member.offset, member.length), name)
    except NotThisFormat:
        findings.add(file, "damaged", "suspicious", "a tar that is damaged or contradicts itself")


def scan_packed(source: ByteSource, head: bytes, file: str, findings: Findings, inner: Inner) -> None:
    """Scan what a compressed file decompresses to, up to a bound."""
    makers: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
        (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
        (b"BZh", bz2.BZ2Decompressor),
        (b"\xfd7zXZ", lzma.LZMADecompressor),
        (b"\x5d\x00\x00", lzma.LZMADecompressor),
        (b"\x78", zlib.decompressobj),
    )
    maker = next(make for magic, make in makers if head.startswith(magic))
    data = inflate(source, maker(), file, findings)
    if data:
        inner(MemorySource(data), f"{file}!")


def inflate(source: ByteSource, decompressor: _Decompressor, file: str, findings: Findings) -> bytes:
    """Return what `source`, the file of this name, decompresses to: at most 32 MiB, and as far as it is whole.

    Loaders fail where it is damaged, and have then run what lies before.
    """
    found, at = bytearray(), 0
    pending = b""
    try:
        while len(found) < MAX_INFLATED:
            fed = pending
            if not fed and getattr(decompressor, "needs_input", True):
                fed = source.read(at, _WINDOW)
                at += len(fed)
                if not fed:
                    break
            data = decompressor.decompress(fed, 1 << 20)
            pending = getattr(decompressor, "unconsumed_tail", b"")
            findings.spend(len(data))
            found += data
            if getattr(decompressor, "eof", False):
                return bytes(found)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, MemoryError):
        return bytes(found)
    if len(found) >= MAX_INFLATED:
        meaning = f"more than {spell_size(MAX_INFLATED)} when decompressed, of which the rest was not read"
        findings.add(file, "unread", "notice", meaning)
    return bytes(found)
