"""The columns of a release's tables (docs/formats/release.md), and the rows that captures and manifests make.

Rows are plain JSON objects: they wait in a line-by-line file until the table is written, so that a release of a
million files needs no memory for them.
"""

from typing import TypeAlias

from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import Capture, FileEntry, Manifest

Row: TypeAlias = dict[str, str | int | list[str] | None]

PACKAGE_COLUMNS: dict[str, str] = {
    "package": "VARCHAR",
    "hub": "VARCHAR",
    "name": "VARCHAR",
    "snapshot": "VARCHAR",
    "commit": "VARCHAR",
    "author": "VARCHAR",
    "captured": "TIMESTAMP",
    "listed": "TIMESTAMP",
    "rights": "VARCHAR",
    "licence": "VARCHAR",
    "downloads": "BIGINT",
    "likes": "BIGINT",
    "task": "VARCHAR",
    "library": "VARCHAR",
    "tags": "VARCHAR[]",
    "modified": "TIMESTAMP",
    "files": "BIGINT",
    "bytes": "BIGINT",
}
"""`packages.parquet`: one row a package, by name. What the hub did not say is NULL; moments are UTC."""

FILE_COLUMNS: dict[str, str] = {
    "package": "VARCHAR",
    "snapshot": "VARCHAR",
    "path": "VARCHAR",
    "kind": "VARCHAR",
    "size": "BIGINT",
    "blake3": "VARCHAR",
    "sha256": "VARCHAR",
    "git_sha1": "VARCHAR",
    "source": "VARCHAR",
    "cutter": "VARCHAR",
}
"""`files.parquet`: one row a file, by package and path."""


def package_row(capture: Capture, manifest: Manifest) -> Row:
    """Return the row of a package."""
    return {
        "package": capture.package,
        "hub": manifest.package.hub,
        "name": manifest.package.name,
        "snapshot": capture.snapshot,
        "commit": manifest.package.commit,
        "author": manifest.package.author,
        "captured": capture.captured,
        "listed": capture.listed,
        "rights": capture.rights,
        "licence": capture.licence,
        "downloads": capture.downloads,
        "likes": capture.likes,
        "task": capture.task,
        "library": capture.library,
        "tags": list(capture.tags),
        "modified": capture.modified,
        "files": len(manifest.files),
        "bytes": manifest.size,
    }


def file_row(capture: Capture, file: FileEntry) -> Row:
    """Return the row of one file of a package."""
    return {
        "package": capture.package,
        "snapshot": capture.snapshot,
        "path": readable(file.name),
        "kind": file_kind(file.name, file.size),
        "size": file.size,
        "blake3": file.blake3,
        "sha256": file.sha256,
        "git_sha1": file.git_sha1,
        "source": file.source,
        "cutter": file.cutter,
    }


def readable(path: str) -> str:
    r"""Spell a path that is not UTF-8 as text: each byte that is none becomes `\xff`, and the rest stays."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
