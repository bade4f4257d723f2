"""A Hugging Face cache, as `huggingface_hub` 2.4 writes and reads it.

::

    <root>/models--org--name/
      blobs/<etag>                    git blob id of a small file, SHA-256 of an LFS file
      snapshots/<commit>/<path>       a relative link into blobs/
      refs/main                       the commit
      trees/<commit>.json             every file of the commit, so that a reader can tell whether a snapshot is complete

`trees/<commit>.json` lists every file of the package, also those that were not wanted: offline, `snapshot_download`
then refuses a partial snapshot unless it is asked for just the files that are there, as it does with its own.
"""

import json
import re
from pathlib import Path

from ptmtorrent.disk.durable import write_once
from ptmtorrent.errors import UnsupportedFormat
from ptmtorrent.layouts.folders import ensure_real_dir, refuse_strange
from ptmtorrent.layouts.port import Spot
from ptmtorrent.model.manifest import FileEntry, Manifest
from ptmtorrent.model.pointers import pointer_git_id

INCOMING = ".ptmtorrent-incoming"
TREE_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HfCache:
    """Lays packages of the Hugging Face hub out below `root`, the folder that `HF_HUB_CACHE` would name."""

    name = "hf-cache"
    keeps_snapshots = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def incoming(self) -> Path:
        """Return the folder for unfinished files; see `Layout.incoming`."""
        return self.root / INCOMING

    def folder(self, manifest: Manifest) -> Path:
        """Return the folder that everything of the package is in; see `Layout.folder`.

        Raises:
            UnsupportedFormat: the package is not one a Hugging Face cache can hold.
        """
        package = manifest.package
        if package.hub != "hf":
            raise UnsupportedFormat(
                f"`{package.package}` is not from Hugging Face, so no Hugging Face cache can hold it",
                hint="use `--into dir`",
            )
        if not _NAME.fullmatch(package.name) or "--" in package.name or not _COMMIT.fullmatch(package.commit):
            raise UnsupportedFormat(
                f"`{package.package}` at `{package.commit}` has a name or commit that no Hugging Face cache can hold",
                hint="use `--into dir`",
            )
        return self.root / "--".join(("models", *package.name.split("/")))

    def place(self, manifest: Manifest, file: FileEntry) -> Spot:
        """Return where `file` goes; see `Layout.place`.

        Raises:
            UnsupportedFormat: the package is not one a Hugging Face cache can hold.
        """
        folder = self.folder(manifest)
        etag = _etag(file)
        return Spot(
            target=folder / "blobs" / etag.partition(":")[2],
            link=folder / "snapshots" / manifest.package.commit / file.name,
            proves=etag,
        )

    def finish(self, manifest: Manifest, files: tuple[FileEntry, ...]) -> Path:  # noqa: ARG002  # the tree lists all
        """Write `trees/` and `refs/main`; see `Layout.finish`."""
        folder, commit = self.folder(manifest), manifest.package.commit
        self._write_once(folder / "trees" / f"{commit}.json", _tree(manifest))
        self._write_once(folder / "refs" / "main", commit.encode())
        return folder / "snapshots" / commit

    def _write_once(self, path: Path, data: bytes) -> None:
        ensure_real_dir(self.root, path.parent)
        refuse_strange(path)
        write_once(path, data)


def _etag(file: FileEntry) -> str:
    """Return the hash that the hub gives as ETag, spelled as `Spot.proves`: git blob id, or SHA-256 of LFS files."""
    return f"git:{file.git_sha1}" if file.git_sha1 is not None else f"sha256:{file.sha256}"


def _tree(manifest: Manifest) -> bytes:
    files = {file.name: _tree_entry(file) for file in manifest.files}
    return json.dumps({"format_version": TREE_VERSION, "files": files}, indent=1).encode()


def _tree_entry(file: FileEntry) -> dict[str, int | str]:
    if file.git_sha1 is not None:
        return {"size": file.size, "blob_id": file.git_sha1}
    blob = pointer_git_id(file.sha256, file.size)
    return {"size": file.size, "blob_id": blob, "lfs_sha256": file.sha256, "lfs_size": file.size}
