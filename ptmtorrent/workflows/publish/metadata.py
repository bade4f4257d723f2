"""What the metadata of a channel folder leads to, read as plain JSON: which files to copy, and which release is newest.

Nothing is decided by trust here: the folder is our own, and whoever fetches verifies every signature.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ptmtorrent.disk import durable
from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.model.ids import ReleaseName

FOLDER = "metadata"
POINTER = f"{FOLDER}/timestamp.json"
FIRST_ROOT = f"{FOLDER}/1.root.json"
_FROM_ITS_HOME = "publish from the home that made it, or bring its `channel` folder here"
_ROOT = re.compile(r"[1-9][0-9]*\.root\.json")
_RELEASE = re.compile(r"releases/([^/]+)/release\.json")


class Pointed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes, version and expiry of `timestamp.json`, the files it leads to, and their releases, oldest first."""

    pointer: bytes
    version: int
    expires: datetime
    files: tuple[str, ...]
    releases: tuple[ReleaseName, ...]


def read_pointed(channel: Path) -> Pointed | None:
    """Return what `channel` points to now, or None when it points to nothing.

    Raises:
        IntegrityError: a document is missing or is not TUF metadata.
        StoreError: the folder cannot be read.
    """
    pointer = read_optional(channel / POINTER)
    if pointer is None:
        return None
    try:
        timestamp = msgspec.json.decode(pointer)["signed"]
        snapshot_file = f"{FOLDER}/{int(timestamp['meta']['snapshot.json']['version'])}.snapshot.json"
        snapshot = _read_signed(channel / snapshot_file)
        targets_file = f"{FOLDER}/{int(snapshot['meta']['targets.json']['version'])}.targets.json"
        listed = _list_releases(_read_signed(channel / targets_file))
        version, expires = int(timestamp["version"]), datetime.fromisoformat(timestamp["expires"])
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"the metadata of the channel `{channel}` is damaged: {error!r}") from error
    with durable.disk_errors(channel / FOLDER):
        roots = sorted(path.name for path in (channel / FOLDER).iterdir() if _ROOT.fullmatch(path.name))
    files = (*(f"{FOLDER}/{name}" for name in roots), targets_file, snapshot_file)
    return Pointed(pointer=pointer, version=version, expires=expires, files=files, releases=listed)


def check_same_channel(source: Path, target: Path, pointed: Pointed) -> None:
    """Refuse to publish over another channel, or over a newer or forked state of this one.

    Raises:
        ConfigError: saying which.
    """
    theirs = read_optional(target / FIRST_ROOT)
    if theirs is not None and theirs != read_optional(source / FIRST_ROOT):
        raise ConfigError(f"`{target}` holds another channel, with keys of its own", hint="name another directory")
    there = read_pointed(target)
    if there is None or there.pointer == pointed.pointer:
        return
    if there.version >= pointed.version:
        raise ConfigError(
            f"`{target}` was published from a newer state of this channel: it is at version {there.version}, "
            f"this home at {pointed.version}",
            hint=_FROM_ITS_HOME,
        )
    if any(read_optional(source / path) != read_optional(target / path) for path in there.files):
        raise ConfigError(
            f"`{target}` was published from another copy of this home, which went its own way", hint=_FROM_ITS_HOME
        )


def read_optional(path: Path) -> bytes | None:
    """Return the bytes of a file, None when there is none."""
    try:
        with durable.disk_errors_but_missing(path):
            return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_signed(path: Path) -> dict[str, Any]:
    data = read_optional(path)
    if data is None:
        raise IntegrityError(f"the channel file `{path}` is missing")
    signed = msgspec.json.decode(data)["signed"]
    return signed if isinstance(signed, dict) else {}


def _list_releases(targets: dict[str, Any]) -> tuple[ReleaseName, ...]:
    found: list[tuple[int, ReleaseName]] = []
    for path, target in targets["targets"].items():
        if match := _RELEASE.fullmatch(path):
            found.append((int(target["custom"]["sequence"]), ReleaseName(match[1])))
    return tuple(name for _, name in sorted(found))
