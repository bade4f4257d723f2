"""Names that are hashes, and names that people type.

An id never depends on how bytes are stored: `ObjectId` is the BLAKE3-256 of the raw bytes, whatever codec holds them.
"""

import re
from typing import NewType

from blake3 import blake3

from ptmtorrent.errors import UsageError

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
"""What the maintainer called a release, such as `2026.11`."""

PackageName = NewType("PackageName", str)
"""`hf:org/name`, `onnx:validated/vision/...`: hub prefix, colon, the hub's own name."""

_HEX64 = re.compile(r"[0-9a-f]{64}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PACKAGE = re.compile(r"[a-z][a-z0-9]{0,15}:[^\x00-\x1f\x7f]{1,512}")


def object_id(data: bytes | memoryview) -> ObjectId:
    """Return the BLAKE3-256 of `data`, the name of an object with these raw bytes."""
    return ObjectId(blake3(data).hexdigest())


def is_hex64(text: str) -> bool:
    """Tell whether `text` is 64 lowercase hex digits, the only spelling of a 256-bit hash we accept."""
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
    """Accept `hf:org/name` and its likes.

    Raises:
        UsageError: when the hub prefix is missing.
    """
    if not _PACKAGE.fullmatch(text):
        raise UsageError(f"`{text}` is not a package name", hint="write the hub first, such as `hf:org/name`")
    return PackageName(text)
