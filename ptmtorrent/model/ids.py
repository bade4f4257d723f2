"""Names: those that are hashes, those that people type, and the paths of files in a package.

An id never depends on how bytes are stored: `ObjectId` is the BLAKE3-256 of the raw bytes, whatever codec holds them.
A path is hostile until it passed a check. `check_path` is for names of packages and files of channels, and refuses what
leads elsewhere on POSIX or on Windows. `check_file_path` is for files of packages, whose names are kept as they are
upstream: what the reader's platform cannot write is for layouts to refuse.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NewType

from blake3 import blake3

from ptmtorrent.errors import IntegrityError, UsageError

ObjectId = NewType("ObjectId", str)
"""64 lowercase hex digits: BLAKE3-256 of an object's raw bytes."""

SnapshotId = NewType("SnapshotId", str)
"""64 lowercase hex digits: BLAKE3-256 of a manifest's bytes; also the manifest's `ObjectId`."""

PackId = NewType("PackId", str)
"""64 lowercase hex digits: BLAKE3-256 of a whole pack, padding included."""

ContentRoot = NewType("ContentRoot", str)
"""64 lowercase hex digits: the citable id of a release (docs/formats/release.md)."""

InfoHash = NewType("InfoHash", str)
"""40 (v1) or 64 (v2) lowercase hex digits: the identity of a torrent."""

ReleaseName = NewType("ReleaseName", str)
"""The name of a release, such as `2026.11`."""

PackageName = NewType("PackageName", str)
"""`hf:org/name`, `onnx:validated/vision/...`: hub prefix, colon, and the name on the hub."""

_HEX64 = re.compile(r"[0-9a-f]{64}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PACKAGE = re.compile(r"[a-z][a-z0-9]{0,15}:[^\x00-\x1f\x7f]{1,512}")

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 4096
_DRIVE = re.compile(r".:", re.DOTALL)
"""Windows takes any character before a colon for a drive."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){0,15}")
"""Paths that break no rule, as most do: components of letters, digits, `_`, `.` and `-` that begin with no sign."""

_OF_GIT = {b".git", b"git~1"}
"""Git runs programs that the settings in a folder's `.git` name."""


def object_id(data: bytes | memoryview) -> ObjectId:
    """Return the BLAKE3-256 of `data`, the name of an object with these raw bytes."""
    return ObjectId(blake3(data).hexdigest())


def is_hex64(text: str) -> bool:
    """Return whether `text` is 64 lowercase hex digits, the only accepted spelling of a 256-bit hash."""
    return _HEX64.fullmatch(text) is not None


def parse_release_name(text: str) -> ReleaseName:
    """Accept `2026.11`, `v1`, `demo-2`: letters, digits, `.`, `_` and `-`, at most 64, not starting with a sign.

    Raises:
        UsageError: for any other text, because a release name becomes a folder name on every mirror.
    """
    if not _RELEASE.fullmatch(text) or text == "delete":
        raise UsageError(
            f"`{text}` cannot be the name of a release",
            hint="use letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit",
        )
    return ReleaseName(text)


def parse_package_name(text: str) -> PackageName:
    """Accept names such as `hf:org/name`.

    Raises:
        UsageError: when the hub prefix is missing.
    """
    if not _PACKAGE.fullmatch(text):
        raise UsageError(f"`{text}` is not a package name", hint="write the hub first, such as `hf:org/name`")
    return PackageName(text)


def check_path(path: str) -> None:
    r"""Refuse a path that could lead outside the folder it is laid out in.

    Refused: empty, absolute, `..`, `.`, empty components, NUL and other control characters, a drive letter,
    a backslash, `.git` (in any case), a component over 255 bytes, a path over 4096 bytes.

    Raises:
        IntegrityError: naming the path and the rule it breaks.
    """
    if reason := _reason_against(path, portable=True):
        raise IntegrityError(f"the path {path!r} is refused: {reason}")


def check_file_path(path: str) -> None:
    r"""Refuse the path of a file in a package that could lead outside the package on POSIX.

    Refused is what `check_path` refuses, but control characters other than NUL, drive letters and backslashes.

    Raises:
        IntegrityError: naming the path and the rule it breaks.
    """
    if reason := _reason_against(path):
        raise IntegrityError(f"the path {path!r} is refused: {reason}")


def may_be_written(path: str) -> bool:
    """Return whether every reader may write a file at `path`, or it is refused for more than the rules of `lost` files.

    These are files named `.git` or below a folder of that name, and names that are longer than any disk takes.
    """
    return _reason_against(path, errors="surrogateescape") is None or not _may_be_lost(path)


def _may_be_lost(path: str) -> bool:
    return _reason_against(path, errors="surrogateescape", lost=True) is None


def check_paths(paths: Iterable[str], lost: Iterable[str] = ()) -> None:
    """Check the paths of the files of a package, and that no two collide.

    Two collide if they are equal, or one is a file where the other needs a folder. `lost` are the paths of files that
    were not captured and are never written: they may have `.git` and components of any length.

    Bytes that are not UTF-8 may be in a path as surrogate escapes, as `path_b64` of a manifest is decoded.

    Raises:
        IntegrityError: for the first path that is unsafe or collides.
    """
    checked = []
    for path in paths:
        if reason := _reason_against(path, errors="surrogateescape"):
            raise IntegrityError(f"the path {path!r} is refused: {reason}")
        checked.append(path)
    for path in lost:
        if reason := _reason_against(path, errors="surrogateescape", lost=True):
            raise IntegrityError(f"the path {path!r} is refused: {reason}")
        checked.append(path)
    # Sorted this way, nothing comes between a file and the paths below it, and no folders have to be kept: those of a
    # few megabytes of deep paths would take gigabytes.
    checked.sort(key=lambda path: path.replace("/", "\0"))
    for path, following in pairwise(checked):
        if path == following:
            raise IntegrityError(f"the path {path!r} occurs twice")
        if following.startswith(f"{path}/"):
            raise IntegrityError(f"the path {path!r} is a file and a folder at once")


def path_bytes(path: str) -> bytes:
    """Return the bytes of a path on its hub: surrogate escapes become the bytes that they stand for."""
    return path.encode(errors="surrogateescape")


def path_of(data: bytes) -> str:
    """Return the path whose bytes are `data`."""
    return data.decode(errors="surrogateescape")


def show_path(text: str) -> str:
    r"""Return `text` for people and JSON: bytes that are not UTF-8, kept as surrogate escapes, become `\xff`."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _reason_against(path: str, *, errors: str = "strict", portable: bool = False, lost: bool = False) -> str | None:
    if _PLAIN.fullmatch(path):
        return None
    try:
        encoded = path.encode(errors=errors)
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if b"\0" in encoded:
        return "it holds a NUL character"
    if portable and (reason := _reason_elsewhere(path, encoded)):
        return reason
    reason_against = _reason_against_any if lost else _reason_against_component
    return next(filter(None, map(reason_against, encoded.split(b"/"))), None)


def _reason_elsewhere(path: str, encoded: bytes) -> str | None:
    """Return why a path would be another one, or would be shown as another one, on some platform."""
    if any(byte < 0x20 or byte == 0x7F for byte in encoded):
        return "it holds a control character"
    if b"\\" in encoded or _DRIVE.match(path):
        return "it holds a backslash or starts with a drive letter"
    return None


def _reason_against_any(component: bytes) -> str | None:
    if not component:
        return "it is empty, absolute or has an empty component"
    if component in {b".", b".."}:
        return f"it has the component `{component.decode()}`"
    return None


def _reason_against_component(component: bytes) -> str | None:
    if reason := _reason_against_any(component):
        return reason
    if component.lower() in _OF_GIT:
        return f"it has the component `{component.decode()}`, whose settings git would obey"
    if len(component) > MAX_COMPONENT_BYTES:
        return f"a component is longer than {MAX_COMPONENT_BYTES} bytes"
    return None
