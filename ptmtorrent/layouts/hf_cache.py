"""The layout of a Hugging Face cache, as `huggingface_hub` 2.4 writes and reads it.

::

    <root>/models--org--name/
      blobs/<etag>                    git blob id of a small file, SHA-256 of an LFS file
      snapshots/<commit>/<path>       a relative link into blobs/
      refs/main                       the commit, unless the user has another one there
      trees/<commit>.json             every file of the commit, so that a reader sees whether a snapshot is complete

On a disk without symbolic links a snapshot has the files themselves, and there are no blobs, as the client does it.

`trees/<commit>.json` lists every file of the package, including those that were not fetched or captured. Offline,
`snapshot_download` then refuses a partial snapshot unless only fetched files are requested, as for its own downloads.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ptmtorrent.disk.durable import (
    disk_errors,
    disk_errors_but_missing,
    files_in,
    open_regular,
    read_regular,
    write_file,
)
from ptmtorrent.errors import UnsupportedFormat
from ptmtorrent.layouts.folders import INCOMING, ensure_real_dir, files_below, read_link, refuse_unless_file
from ptmtorrent.layouts.port import Destination, Finished, Marks
from ptmtorrent.model.bounds import decode_json
from ptmtorrent.model.manifest import FileEntry, Manifest, MissingFile
from ptmtorrent.model.pointers import pointer_git_id

TREE_VERSION = 1
MAX_REF_BYTES = 4 << 10
"""Limit of what is read of `refs/main`, which holds a commit and perhaps white space after it."""
MAX_TREE_BYTES = 64 << 20
"""Limit of what is read of a list in `trees/`."""
GIT_DIGITS = 40
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HfCache:
    """The layout of packages of the Hugging Face hub below `root`, the folder that `HF_HUB_CACHE` would name.

    `links` states whether its disk has symbolic links.
    """

    name = "hf-cache"
    keeps_snapshots = True

    def __init__(self, root: Path, *, links: bool = True) -> None:
        self.root = root
        self._links = links

    def incoming(self) -> Path:
        """Return the folder for unfinished files; see `Layout.incoming`."""
        return self.root / INCOMING

    def destination(self, manifest: Manifest, file: FileEntry) -> Destination:
        """Return the destination of `file`; see `Layout.destination`.

        Raises:
            UnsupportedFormat: a Hugging Face cache cannot hold the package.
        """
        folder = self.folder(manifest)
        etag = _etag(file)
        in_snapshot = folder / "snapshots" / manifest.package.commit / file.name
        if not self._links:
            return Destination(target=in_snapshot, claimed_hash=etag)
        return Destination(target=folder / "blobs" / etag.partition(":")[2], link=in_snapshot, claimed_hash=etag)

    def place(self, manifest: Manifest, file: FileEntry) -> str:  # noqa: ARG002  # as the port has it
        """Return the name of the blob, or of the file itself; see `Layout.place`."""
        return _etag(file).partition(":")[2] if self._links else file.name

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...], marks: Marks) -> Finished:  # noqa: ARG002  # the tree lists all
        """Write `trees/`, and `refs/main` unless the user's own commit is there; see `Layout.finish`."""
        folder, commit = self.folder(manifest), manifest.package.commit
        tree, ref = folder / "trees" / f"{commit}.json", folder / "refs" / "main"
        listed = _tree(manifest)
        if self._read(tree, len(listed) + 1) != listed:
            write_file(tree, listed, None)
        found = self._read(ref, MAX_REF_BYTES)
        note = ""
        if found is None or found.decode(errors="replace") == marks.mark(ref):
            if found != commit.encode():
                write_file(ref, commit.encode(), None)
            marks.put_mark(ref, commit)
        elif found.strip() != commit.encode():
            note = (
                f"`{ref}` names another commit, which no fetch of this home put there, and was left; name the fetched"
                f" one with `revision={commit}`"
            )
        return Finished(folder=folder / "snapshots" / commit, note=note)

    def _read(self, path: Path, limit: int) -> bytes | None:
        """Return up to `limit` bytes of a file of the cache, or None; its folder is made."""
        ensure_real_dir(self.root, path.parent)
        refuse_unless_file(path)
        with suppress(FileNotFoundError), disk_errors_but_missing(path):
            return read_regular(path, limit)
        return None

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder of the package; see `Layout.folder`.

        Raises:
            UnsupportedFormat: a Hugging Face cache cannot hold the package.
        """
        package = manifest.package
        if package.hub != "hf":
            raise UnsupportedFormat(
                f"`{package.package}` is not from Hugging Face, so a Hugging Face cache cannot hold it",
                hint="use `--into dir`",
            )
        if not _NAME.fullmatch(package.name) or "--" in package.name or not _COMMIT.fullmatch(package.commit):
            raise UnsupportedFormat(
                f"`{package.package}` at `{package.commit}` has a name or commit that a Hugging Face cache cannot hold",
                hint="use `--into dir`",
            )
        return self.root / "--".join(("models", *package.name.split("/")))


def find_strangers(folder: Path, known: Collection[Path]) -> list[Path]:
    """Return what is in the snapshots of a package in a cache and is not a file of its commit, as `trees/` lists it.

    Such are files that are not listed, links to another blob, and files with other bytes; those that are `known` were
    checked. Snapshots of commits without a list are another program's.

    Raises:
        StoreError: a folder or a list cannot be read.
    """
    found: list[Path] = []
    for tree in files_in(folder / "trees", "*.json"):
        with suppress(FileNotFoundError), disk_errors_but_missing(tree):
            listed = _read_tree(read_regular(tree, MAX_TREE_BYTES))
            if listed is None:
                continue
            inside = folder / "snapshots" / tree.stem
            found += [
                path
                for path in files_below(inside)
                if path not in known and not _is_listed(path, listed.get(path.relative_to(inside).as_posix()))
            ]
    return found


def _read_tree(data: bytes) -> dict[str, str] | None:
    """Return the name of the blob of each file that a list has; None for what is no such list."""
    with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
        files = decode_json(data)["files"].items()
        return {str(name): str(entry.get("lfs_sha256") or entry["blob_id"]) for name, entry in files}
    return None


def _is_listed(path: Path, blob: str | None) -> bool:
    """Return whether a link leads to the blob, or a file has the bytes that the blob's name states."""
    if blob is None:
        return False
    text = read_link(path)
    if text is not None:
        return Path(text).name == blob
    with disk_errors(path):
        return path.is_file() and _hash(path, as_git=len(blob) == GIT_DIGITS) == blob


def _hash(path: Path, *, as_git: bool) -> str:
    """Return the SHA-256 of a file, or its id as a git blob."""
    with os.fdopen(open_regular(path), "rb") as stream:
        if not as_git:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        begun = hashlib.sha1(b"blob %d\0" % os.fstat(stream.fileno()).st_size, usedforsecurity=False)
        return hashlib.file_digest(stream, lambda: begun).hexdigest()


def _etag(file: FileEntry) -> str:
    """Return the hash that the hub sends as ETag: the git blob id, or the SHA-256 of an LFS file.

    It is spelled like `Destination.claimed_hash`.
    """
    return f"git:{file.git_sha1}" if file.git_sha1 is not None else f"sha256:{file.sha256}"


def _tree(manifest: Manifest) -> bytes:
    files = {file.name: _tree_entry(file) for file in manifest.files}
    files |= {file.name: _missing_entry(file) for file in manifest.missing}
    return json.dumps({"format_version": TREE_VERSION, "files": files}, indent=1).encode()


def _missing_entry(file: MissingFile) -> dict[str, int | str]:
    """Return the entry of a file that was not captured, from what the hub said of it."""
    kind, _, oid = (file.oid or "").partition(":")
    size = file.size or 0
    if kind != "sha256":
        return {"size": size, "blob_id": oid}
    return {"size": size, "blob_id": pointer_git_id(oid, size), "lfs_sha256": oid, "lfs_size": size}


def _tree_entry(file: FileEntry) -> dict[str, int | str]:
    if file.git_sha1 is not None:
        return {"size": file.size, "blob_id": file.git_sha1}
    blob = pointer_git_id(file.sha256, file.size)
    return {"size": file.size, "blob_id": blob, "lfs_sha256": file.sha256, "lfs_size": file.size}
