"""What the zoo says of its packages: by its folders, its manifest and its READMEs."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.hubs.port import HubFile

INNER = {"model", "models", "preproc"}
"""Folders of this name belong to the package above them, which has the README."""

_LICENCE = re.compile(r"^#{1,6}[ \t]*licen[sc]e[ \t]*#*[ \t]*\n+([^\n#].{0,200})$", re.MULTILINE | re.IGNORECASE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def package_of(path: str) -> str:
    """Return the folder that is the package of the LFS file at `path`; empty when it lies in none."""
    folder = posixpath.dirname(path)
    while posixpath.basename(folder) in INNER:
        folder = posixpath.dirname(folder)
    return folder


def belongs_to(name: str, files: Sequence[HubFile]) -> list[HubFile]:
    """Return those of `files`, which lie below the package's folder, that are not of a package further down."""
    inner = {package_of(f"{name}/{file.path}") for file in files if file.source == "lfs"} - {name}
    below = tuple(f"{package.removeprefix(f'{name}/')}/" for package in inner)
    return [file for file in files if not below or not file.path.startswith(below)]


def task_of(name: str) -> str | None:
    """Return what the folders say the package is for: `classification`, or an area such as `computer-vision`."""
    steps = name.split("/")
    if steps[0] == "validated" and len(steps) > 3:
        return steps[2].replace("_", "-")
    return steps[0].replace("_", "-").lower() if len(steps) > 1 else None


def read_manifest(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """Read `ONNX_HUB_MANIFEST.json`: its entries, untouched, by the package they are of. Nothing gives none.

    Raises:
        HubError: it is no JSON list of objects.
    """
    try:
        rows = msgspec.json.decode(data, type=list[dict[str, Any]]) if data else []
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"the zoo's manifest could not be read: {error}") from error
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        path = row.get("model_path")
        if isinstance(path, str):
            found.setdefault(package_of(path), []).append(row)
    return found


def tags_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the tags of an entry of the manifest."""
    metadata = entry.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def licence_in(readme: bytes) -> str | None:
    """Return the licence below the heading `License`, by its usual id where that is known."""
    match = _LICENCE.search(readme.decode(errors="replace").replace("\r\n", "\n"))
    if match is None:
        return None
    words = _LINK.sub(r"\1", match[1]).strip().strip("*_`.")
    return name_licence(words) or words or None
