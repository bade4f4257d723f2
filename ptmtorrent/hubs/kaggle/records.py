"""Parses answers of Kaggle Models into our records. Pure; an odd record is skipped without failing the page.

Kaggle spells enumerations in two ways: `MODEL_FRAMEWORK_TENSOR_FLOW_2` in records, `tensorFlow2` in URLs. Package names
use the latter.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.catalogues import text
from ptmtorrent.hubs.client.redact import redact
from ptmtorrent.hubs.facts import fill
from ptmtorrent.hubs.kaggle.facts import read_facts, spell_framework
from ptmtorrent.hubs.port import MAX_FILES, HubFile, Listed
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.ids import check_file_path

MAX_BYTES = 1 << 50
MAX_TOKEN = 8192
_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,200}")


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        HubError: `body` is not a JSON object.
    """
    try:
        return decode_json(body, dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"{what} could not be read: {error}") from error


def read_models(answer: Mapping[str, Any]) -> list[Listed]:
    """Return a package for every variation of every model on a page; those without a usable name are left out."""
    found: dict[str, Listed] = {}
    models = answer.get("models")
    for model in models if isinstance(models, list) else []:
        if not isinstance(model, dict):
            continue
        about = {key: value for key, value in model.items() if key != "instances"}
        instances = model.get("instances")
        for instance in instances if isinstance(instances, list) else []:
            listed = _listed(text(model, "ref") or "", about, instance)
            if listed is not None:
                found.setdefault(listed.name, listed)
    return list(found.values())


def read_instance(name: str, body: bytes, what: str) -> Listed:
    """Return the package `name` from its description.

    Raises:
        HubError: `body` is not a description of that package.
    """
    owner, model, _, _ = name.split("/")
    listed = _listed(f"{owner}/{model}", {}, read_object(body, what))
    if listed is None or listed.name != name:
        raise HubError(f"{what} could not be read: it describes another package")
    return listed


def _listed(ref: str, model: Mapping[str, Any], instance: object) -> Listed | None:
    if not isinstance(instance, dict):
        return None
    framework = spell_framework(text(instance, "framework") or "")
    name = f"{ref}/{framework}/{text(instance, 'slug') or ''}"
    if not is_name(name):
        return None
    version = instance.get("versionNumber")
    raw = redact({"model": model, "instance": instance})
    listed = Listed(
        name=name,
        access="private" if model.get("isPrivate") is True else "public",
        commit=str(version) if isinstance(version, int) and 0 < version < 1 << 31 else None,
        hub_id=str(instance["id"]) if isinstance(instance.get("id"), int) else None,
        raw=msgspec.json.encode(raw).decode(),
    )
    return fill(listed, read_facts(name, raw))


def is_name(name: str) -> bool:
    """Return whether `name` has the form `owner/model/framework/variation`."""
    parts = name.split("/")
    return len(parts) == 4 and all(_PART.fullmatch(part) for part in parts)


def is_model(name: str) -> bool:
    """Return whether `name` has the form `owner/model`: all variations of a model."""
    parts = name.split("/")
    return len(parts) == 2 and all(_PART.fullmatch(part) for part in parts)


def read_files(answer: Mapping[str, Any], what: str) -> list[tuple[str, int | None]]:
    """Return path and size of every file on a page; an unusable size is None.

    Raises:
        HubError: the page is malformed; IntegrityError: a path that is not allowed in a manifest.
    """
    rows = answer.get("files") or []
    if not isinstance(rows, list) or len(rows) > MAX_FILES:
        raise HubError(f"{what} could not be read: not a list of files")
    found = []
    for row in rows:
        name = row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str):
            raise HubError(f"{what} could not be read: a file has no name")
        check_file_path(name)
        size = row.get("size", row.get("totalBytes"))
        size = int(size) if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 17 else size
        fits = isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_BYTES
        found.append((name, size if fits else None))
    return found


def read_token(answer: Mapping[str, Any], what: str) -> str | None:
    """Return the token of the next page; None on the last page.

    Raises:
        HubError: the token cannot be sent back.
    """
    token = answer.get("nextPageToken")
    if token is None or token == "":
        return None
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        raise HubError(f"{what} could not be read: `nextPageToken` is malformed")
    return token


def read_hash(header: str) -> str | None:
    """Return the oid in `x-goog-hash: crc32c=…,md5=…`, or None.

    Source: Cloud Storage XML API, "x-goog-hash".
    """
    for item in header.split(","):
        key, _, value = item.strip().partition("=")
        if key == "md5":
            try:
                digest = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                return None
            return f"md5:{digest.hex()}" if len(digest) == 16 else None
    return None


def promised(path: str, size: int | None, headers: Mapping[str, str]) -> HubFile:
    """Return a file with the hash and size in the headers of its download address."""
    length = headers.get("content-length", "")
    if size is None and length.isascii() and length.isdigit() and len(length) < 17:
        size = int(length)
    return HubFile(path=path, size=size, oid=read_hash(headers.get("x-goog-hash", "")), source="url")
