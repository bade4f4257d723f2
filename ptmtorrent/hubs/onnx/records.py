"""Facts about the zoo's packages, read from its folders and its manifest. Pure."""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.port import HubFile
from ptmtorrent.model.bounds import decode_json

INNER = {"model", "models", "preproc"}
"""Folders with these names belong to the package above them, which has the README."""


def package_of(path: str) -> str:
    """Return the package (a folder) of the LFS file at `path`; empty for a file at the top."""
    folder = posixpath.dirname(path)
    while posixpath.basename(folder) in INNER:
        folder = posixpath.dirname(folder)
    return folder


def select_own_files(name: str, files: Sequence[HubFile]) -> list[HubFile]:
    """Return the files that belong to the package: all of `files` but those of packages in folders below it."""
    inner = {package_of(f"{name}/{file.path}") for file in files if file.source == "lfs"} - {name}
    below = tuple(f"{package.removeprefix(f'{name}/')}/" for package in inner)
    return [file for file in files if not below or not file.path.startswith(below)]


def task_of(name: str) -> str | None:
    """Return the task that the path names: `classification`, or an area such as `computer-vision`."""
    steps = name.split("/")
    if steps[0] == "validated" and len(steps) > 3:
        return steps[2].replace("_", "-")
    return steps[0].replace("_", "-").lower() if len(steps) > 1 else None


def read_manifest(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """Return the unchanged entries of `ONNX_HUB_MANIFEST.json` by package; empty `data` has none.

    Raises:
        HubError: `data` is not a JSON list of objects.
    """
    try:
        rows = decode_json(data, list[dict[str, Any]]) if data else []
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise HubError(f"the zoo's manifest could not be read: {error}") from error
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        path = row.get("model_path")
        if isinstance(path, str):
            found.setdefault(package_of(path), []).append(row)
    return found


def tags_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the tags of a manifest entry; none if they are malformed."""
    metadata = entry.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
