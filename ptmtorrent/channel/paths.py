"""Spells every path below the root of a channel.

::

    metadata/1.root.json                         the first root; its hash is the fingerprint of the channel
    metadata/<n>.{root,targets,snapshot}.json    TUF metadata, by version
    metadata/timestamp.json                      the signed pointer to the current metadata
    withdrawn/<n>.json                           the packages that were withdrawn, by number; the highest is current
    keys/minisign.pub                            the public minisign key
    releases/<name>/release.json                 a release; `release.json.minisig` beside it
    releases/<name>/{index,subsets,tables}/...   the files that `release.json` lists
    releases/<name>/policy.json                  what its maintainer decided about packages; listed too
    torrents/<infohash>.torrent                  shared by all releases
    packs/<2 hex>/<64 hex>.pack                  shared by all releases; the path is part of every infohash
"""

import re
from typing import Literal

from ptmtorrent.model.ids import InfoHash, PackId, ReleaseName
from ptmtorrent.model.volume import ROOT_NAME

__all__ = [
    "FIRST_ROOT",
    "FIRST_ROOT_NAME",
    "FLAGGED_FILE",
    "METADATA",
    "MINISIGN_PUBLIC",
    "PACKS",
    "POLICY_FILE",
    "RELEASES",
    "RELEASE_FILE",
    "TABLES",
    "TIMESTAMP",
    "TIMESTAMP_NAME",
    "TORRENTS",
    "is_unfinished",
    "metadata_path",
    "metadata_version",
    "pack_path",
    "parse_release_path",
    "parse_withdrawn_path",
    "release_folder",
    "release_path",
    "signature_path",
    "subset_path",
    "torrent_path",
    "unfinished_folder",
    "withdrawn_path",
]

METADATA = "metadata"
RELEASES = "releases"
TORRENTS = "torrents"
PACKS = ROOT_NAME
TABLES = "tables"
"""The folder of the Parquet tables, below the folder of a release."""

FIRST_ROOT_NAME = "1.root.json"
FIRST_ROOT = f"{METADATA}/{FIRST_ROOT_NAME}"
TIMESTAMP_NAME = "timestamp.json"
TIMESTAMP = f"{METADATA}/{TIMESTAMP_NAME}"
MINISIGN_PUBLIC = "keys/minisign.pub"
RELEASE_FILE = "release.json"
POLICY_FILE = "policy.json"
FLAGGED_FILE = "flagged.json"
ROWS_FILE = "index/rows.bin"
TREE_FILE = "index/tree.bin"
DOCUMENTS_FILE = "index/documents.bin"
"""Files of the index, below the folder of a release (docs/formats/release.md)."""

VersionedRole = Literal["root", "targets", "snapshot"]

_RELEASE_PATH = re.compile(rf"{RELEASES}/([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})/release\.json")
_VERSIONED = re.compile(r"([1-9][0-9]*)\.(root|targets|snapshot)\.json")
_WITHDRAWN = re.compile(r"withdrawn/([1-9][0-9]{0,9})\.json")
_UNFINISHED_PREFIX = ".partial-"
"""Release names never start with a dot, so an unfinished folder is not mistaken for a release."""


def metadata_path(role: VersionedRole, version: int) -> str:
    """Return the path of one version of a TUF document."""
    return f"{METADATA}/{version}.{role}.json"


def metadata_version(role: VersionedRole, name: str) -> int | None:
    """Return the version in the file name of a TUF document of `role`; None for any other file."""
    match = _VERSIONED.fullmatch(name)
    return int(match[1]) if match and match[2] == role else None


def release_folder(name: ReleaseName) -> str:
    """Return the path of the folder of the release `name`."""
    return f"{RELEASES}/{name}"


def unfinished_folder(name: ReleaseName) -> str:
    """Return the path of the folder in which the release `name` is written before it is renamed."""
    return f"{RELEASES}/{_UNFINISHED_PREFIX}{name}"


def release_path(name: ReleaseName) -> str:
    """Return the path of `release.json` of the release `name`."""
    return f"{release_folder(name)}/{RELEASE_FILE}"


def signature_path(name: ReleaseName) -> str:
    """Return the path of the minisign signature of `release.json` of the release `name`."""
    return f"{release_path(name)}.minisig"


def parse_release_path(path: str) -> ReleaseName | None:
    """Return the name of the release whose `release.json` is at `path`; None for any other path."""
    match = _RELEASE_PATH.fullmatch(path)
    return ReleaseName(match[1]) if match else None


def withdrawn_path(number: int) -> str:
    """Return the path of a list of withdrawn packages."""
    return f"withdrawn/{number}.json"


def parse_withdrawn_path(path: str) -> int | None:
    """Return the number of the list of withdrawn packages at `path`; None for any other path."""
    match = _WITHDRAWN.fullmatch(path)
    return int(match[1]) if match else None


def torrent_path(infohash: InfoHash) -> str:
    """Return the path of a torrent; it is also the path by which `release.json` lists it."""
    return f"{TORRENTS}/{infohash}.torrent"


def subset_path(name: str) -> str:
    """Return the path of the names of a subset's members, below the folder of a release."""
    return f"subsets/{name}.txt"


def is_unfinished(name: str) -> bool:
    """Return whether the folder `name` below `releases/` is not a finished release."""
    return name.startswith(".")


def pack_path(pack: PackId) -> str:
    """Return the path of a pack in a channel: `packs/<2 hex>/<64 hex>.pack`."""
    return f"{ROOT_NAME}/{pack[:2]}/{pack}.pack"
