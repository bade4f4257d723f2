"""Parses records of Hugging Face into ours. Pure; accepts every record of every year.

The hub's own JSON is kept as `raw`, byte for byte except for e-mail addresses. A value of an undocumented type counts
as absent: one odd record must not stop a listing of 300,000. Example::

    {"_id": "621ffdc036468d709f174338", "id": "openai-community/gpt2", "sha": "607a30d7…", "downloads": 123, "likes": 4,
     "tags": ["transformers", "license:mit"], "gated": false, "private": false, "pipeline_tag": "text-generation"}
"""

import re
from contextlib import suppress
from typing import Any

import msgspec

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.hubs.client.redact import redact_json
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.huggingface.facts import read_facts
from ptmtorrent.hubs.port import MAX_FILES, Foreseen, HubFile, Listed, set_aside_unsafe
from ptmtorrent.model.bounds import MAX_MEMORY_BYTES, decode_json, json_memory
from ptmtorrent.model.ids import MAX_PATH_BYTES
from ptmtorrent.model.manifest import FileSource
from ptmtorrent.model.text import count, spell_size

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f\\]{1,255}(/(?!\.{1,2}$)[^/\x00-\x1f\x7f\\]{1,255})?")
MAX_COUNT = 1 << 50
"""Limit of file sizes (1 PiB) and download counts; the sum of many still fits 64 bits."""

UNREADABLE = "unreadable"
"""The access of a package whose record cannot be read, or has no usable name."""

_MAX_SHOWN = 200
_MAX_ESCAPES = 300_000
_MAX_PAGE_OBJECTS = 300_000
"""Limit of JSON objects in a page, those inside its records too: each record takes 150 bytes beside its own."""

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F4", "I4", "U4"), 4),
}
"""Bits of a parameter, by the name of its type in safetensors."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""A JSON escape; the group matches an unpaired surrogate."""


class _Any(msgspec.Struct):
    """Any JSON object."""


def read_listed(raw: bytes) -> Listed:
    """Return the package of one record of a listing, or of one description.

    Raises:
        HubError: not a JSON object, or it has no usable name.
    """
    try:
        raw = redact_json(raw)
        record = _json(raw, "a record of the hub")
    except HubError:
        if not _may_be_replaced(raw):
            raise
        raw = redact_json(_replace_invalid(raw))
        record = _json(raw, "a record of the hub")
    if not isinstance(record, dict):
        raise HubError("a record of the hub is not a JSON object")
    name = _text(record, "id") or _text(record, "modelId")
    if name is None or not is_usable_name(name):
        raise HubError(f"the hub lists a package without a usable name: {name!r}")
    commit = _text(record, "sha") or ""
    listed = Listed(
        name=name,
        access=_access(record),
        commit=commit if _COMMIT.fullmatch(commit) else None,
        hub_id=_text(record, "_id"),
        raw=raw.decode(),
    )
    return fill(listed, read_facts(name, record))


def read_foreseen(raw: bytes) -> Foreseen:
    """Return what a record says of the files of its package.

    The size is the storage that the package uses, all its revisions together, where the record says that; otherwise
    that of its parameters, which lacks files that repeat them in another format.
    """
    record = _json(raw or b"{}", "a record of the hub")
    if not isinstance(record, dict):
        return Foreseen()
    named = record.get("siblings")
    used = _count(record, "usedStorage")
    return Foreseen(
        files=len(named) if isinstance(named, list) else None, bytes=_parameter_bytes(record) if used is None else used
    )


def _parameter_bytes(record: dict[str, Any]) -> int | None:
    """Return the size of the weights that a record counts; None if it counts none, or some of an unknown type."""
    gguf, counted = record.get("gguf"), record.get("safetensors")
    counts = counted.get("parameters") if isinstance(counted, dict) else None
    size = _count(gguf, "totalFileSize") if isinstance(gguf, dict) else None
    counts = counts if isinstance(counts, dict) else {}
    for name in counts:
        number, bits = _count(counts, name), _BITS.get(name)
        if number is None or bits is None:
            return None
        size = (size or 0) + number * bits // 8
    return None if size is None else min(size, MAX_COUNT - 1)


def read_listed_or_name(raw: bytes) -> Listed:
    """Return the package of one record of a listing; for a record that cannot be read, as much as it says of a name.

    Such a package is `unreadable`: it fails when it is described, and the others of the page do not.
    """
    with suppress(HubError):
        return read_listed(raw)
    record = None
    with suppress(HubError):
        record = _json(_replace_invalid(raw) if _may_be_replaced(raw) else raw, "a record of the hub")
    named = record if isinstance(record, dict) else {}
    name = _text(named, "id") or _text(named, "modelId") or "(no name)"
    return Listed(name=name[:_MAX_SHOWN], access=UNREADABLE)


def is_usable_name(name: str) -> bool:
    """Return whether `name` is `org/name` or `name` and is allowed in a URL and as a folder."""
    return _NAME.fullmatch(name) is not None and name == _clean(name)


def split_page(body: bytes, what: str) -> list[bytes]:
    """Return the elements of a JSON array, each as the bytes the hub sent; invalid Unicode is replaced.

    Raises:
        HubError: not a JSON array of objects, or it has too many.
    """
    try:
        return _split(body, what)
    except HubError as error:
        valid = _replace_invalid(body) if _may_be_replaced(body) else body
        if valid == body:
            raise
        try:
            return _split(valid, what)
        except HubError:
            raise error from None


def _split(body: bytes, what: str) -> list[bytes]:
    if (count := body.count(b"{")) > _MAX_PAGE_OBJECTS:
        raise HubError(f"{what} could not be read: {count:,} objects, over the limit of {_MAX_PAGE_OBJECTS:,}")
    try:
        # Numbers and nulls would take fifty times their size as separate `bytes`, so they are refused first.
        msgspec.json.decode(body, type=list[_Any])
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: not a list of records: {error}") from error


def read_files(pages: list[bytes], what: str) -> list[HubFile]:
    """Return the files of a tree, sorted by path.

    Raises:
        HubError: an entry is neither file nor folder, a file has no path, hash or size, or the total is too large.
        IntegrityError: a path is not allowed in a manifest, or occurs twice.
    """
    files: list[HubFile] = []
    for item in (item for page in pages for item in split_page(page, what)):
        entry = _json(item, what)
        if not _is_folder(entry, what):
            files.append(_file(entry, what))
        if len(files) > MAX_FILES:
            raise HubError(f"{what}: the hub lists more than {count(MAX_FILES, 'file')}")
    if (total := sum(file.size or 0 for file in files)) >= MAX_COUNT:
        raise HubError(f"{what}: the hub lists {spell_size(total)}, over the limit of {spell_size(MAX_COUNT)}")
    try:
        files = set_aside_unsafe(files)
    except IntegrityError as error:
        raise IntegrityError(f"{what}: {error.message}") from error
    return sorted(files, key=lambda file: file.path.encode())


def _is_folder(entry: Any, what: str) -> bool:  # noqa: ANN401  # unvalidated JSON
    kind = entry.get("type") if isinstance(entry, dict) else None
    if kind not in {"file", "directory"}:
        raise HubError(f"{what}: the hub lists an entry that is neither a file nor a folder: {kind!r:.100}")
    return bool(kind == "directory")


def _file(entry: dict[str, Any], what: str) -> HubFile:
    path, oid, size = _text(entry, "path"), _text(entry, "oid") or "", _count(entry, "size")
    lfs = entry.get("lfs")
    if isinstance(lfs, dict):
        sha256 = (_text(lfs, "oid") or _text(lfs, "sha256") or "").removeprefix("sha256:")
        size = _count(lfs, "size") if "size" in lfs else size
        expected = f"sha256:{sha256}" if _SHA256.fullmatch(sha256) else None
    else:
        expected = f"git:{oid}" if _COMMIT.fullmatch(oid) else None
    if path is None or size is None or expected is None:
        raise HubError(f"{what}: the hub lists the file {path!r} without its hash or size")
    xet = _text(entry, "xetHash") or ""
    return HubFile(
        path=path, size=size, oid=expected, source=_source(entry), xet=xet if _SHA256.fullmatch(xet) else None
    )


def _source(entry: dict[str, Any]) -> FileSource:
    if not isinstance(entry.get("lfs"), dict):
        return "git"
    return "xet" if _text(entry, "xetHash") else "lfs"


def _access(record: dict[str, Any]) -> str:
    if record.get("disabled") is True:
        return "disabled"
    if record.get("private") not in (None, False):  # may be a list
        return "private"
    return "public" if record.get("gated") in (None, False, "false") else "gated"


def _json(raw: bytes, what: str) -> Any:  # noqa: ANN401  # unvalidated JSON
    try:
        return decode_json(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: not JSON: {error}") from error


def _may_be_replaced(raw: bytes) -> bool:
    """Return whether replacing what is invalid fits in memory: each escape takes a hundred bytes meanwhile."""
    return raw.count(b"\\") <= _MAX_ESCAPES and json_memory(raw) <= MAX_MEMORY_BYTES


def _replace_invalid(raw: bytes) -> bytes:
    """Replace unpaired surrogates and invalid UTF-8 by U+FFFD: the owner of a package can make a hub send them."""
    return _ESCAPE.sub(lambda match: b"\\ufffd" if match[1] else match[0], raw.decode(errors="replace").encode())


def _clean(text: str) -> str:
    """Replace characters that UTF-8 cannot encode by `?`."""
    return text.encode(errors="replace").decode()


def _text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    return _clean(value) if isinstance(value, str) and 0 < len(value) <= MAX_PATH_BYTES else None


def _count(record: dict[str, Any], key: str) -> int | None:
    value = record.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT else None
