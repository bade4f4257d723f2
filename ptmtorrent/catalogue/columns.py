"""The columns of the tables of a release (docs/formats/release.md), and their rows from captures and manifests.

Rows are JSON objects, kept one per line in a file until the table is written, so that a release of a million files does
not need memory for them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec
from blake3 import blake3

from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import Capture, FileEntry, Manifest
from ptmtorrent.model.revisions import revision_kind

INSTANT = "%Y-%m-%dT%H:%M:%S.%f"
"""How rows spell a time, in UTC to the microsecond, for `strftime` of Python and of DuckDB."""

Row: TypeAlias = dict[str, str | int | list[str] | None]

PACKAGE_FACTS: dict[str, str] = {
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
    "files_blake3": "VARCHAR",
    "missing": "BIGINT",
    "revision": "VARCHAR",
    "version": "VARCHAR",
    "title": "VARCHAR",
    "owner": "VARCHAR",
    "creators": "VARCHAR[]",
    "url": "VARCHAR",
    "owner_url": "VARCHAR",
    "architecture": "VARCHAR",
    "datasets": "VARCHAR[]",
    "papers": "VARCHAR[]",
    "metrics": "VARCHAR[]",
    "description": "VARCHAR",
    "sources": "VARCHAR",
}
"""What the index covers of a package, by name. Values that the hub did not state are NULL; times are UTC.

`missing` is the number of files that were not captured, NULL for none. `revision` is a commit or a version, and one of
`commit` and `version` says which; it is neither for a hash of what was captured. `sources` is a JSON object: where each
fact was read.
"""

LATER = tuple(PACKAGE_FACTS)[tuple(PACKAGE_FACTS).index("missing") :]
"""The columns that tables of earlier versions lack. Where they are NULL they are not part of the hash of a row."""

_ENCODER = msgspec.json.Encoder(order="sorted")
"""Canonical JSON for rows, which have no numbers but integers."""

_OF_CAPTURE = ("title", "owner", "url", "owner_url", "architecture", "description")
_LISTS = ("creators", "datasets", "papers", "metrics")

_RELEASE = {"release": "BIGINT"}
"""The sequence of the release that wrote the file: of several rows of a package, the highest is the newest."""

PACKAGE_COLUMNS = {**PACKAGE_FACTS, **_RELEASE}
"""`packages.parquet`: one row per package of a run; all but `package` and `release` are NULL if it was removed."""

FILE_FACTS: dict[str, str] = {
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
"""What the index covers of a file."""

FILE_COLUMNS = {**FILE_FACTS, **_RELEASE}
"""`files.parquet`: one row per file, by package and path."""


class PackageRows(NamedTuple):
    """The rows of a package in both tables, each as canonical JSON."""

    package: bytes
    files: list[bytes]

    @property
    def facts(self) -> str:
        """The hash of the package's row, which the index and so the content root cover.

        The row has the hash of the package's rows in the table of files.
        """
        return _hash_lines([self.package])


def rows_of(capture: Capture, manifest: Manifest) -> PackageRows:
    """Return the rows of a package in both tables."""
    files = [_ENCODER.encode(file_row(capture, file)) for file in manifest.files]
    return PackageRows(_ENCODER.encode(_package_row(capture, manifest, _hash_lines(files))), files)


def _package_row(capture: Capture, manifest: Manifest, files_blake3: str) -> Row:
    kind = revision_kind(manifest.package)
    row: Row = {
        "package": capture.package,
        "hub": manifest.package.hub,
        "name": manifest.package.name,
        "snapshot": capture.snapshot,
        "commit": manifest.package.commit if kind == "commit" else None,
        "author": manifest.package.author,
        "captured": _instant(capture.captured),
        "listed": _instant(capture.listed),
        "rights": capture.rights,
        "licence": capture.licence,
        "downloads": capture.downloads,
        "likes": capture.likes,
        "task": capture.task,
        "library": capture.library,
        "tags": list(capture.tags),
        "modified": _instant(capture.modified),
        "files": len(manifest.files),
        "bytes": manifest.size,
        "files_blake3": files_blake3,
    }
    later: Row = {
        "missing": len(manifest.missing) or None,
        "revision": manifest.package.commit,
        "version": manifest.package.commit if kind == "version" else None,
        "sources": _ENCODER.encode(capture.sources).decode() if capture.sources else None,
        **{name: getattr(capture, name) for name in _OF_CAPTURE},
        **{name: list(getattr(capture, name)) or None for name in _LISTS},
    }
    return row | {name: value for name, value in later.items() if value is not None}


def facts_of(capture: Capture, manifest: Manifest) -> str:
    """Return the facts of a package."""
    return rows_of(capture, manifest).facts


def hash_rows(rows: list[Row]) -> str:
    """Return the BLAKE3 of rows, each as canonical JSON on a line; a value that is not known is null.

    Of the columns that are `LATER`, those without a value are left out: hashes of earlier rows are older than they.
    """
    return _hash_lines([_ENCODER.encode(_hashed(row)) for row in rows])


def _hash_lines(lines: Sequence[bytes]) -> str:
    return blake3(b"\n".join((*lines, b""))).hexdigest()


def _hashed(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None or name not in LATER}


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
    r"""Return a path as text that is different for each: `\xff` is a byte that is not UTF-8, `\\` a backslash."""
    return path.replace("\\", "\\\\").encode(errors="surrogateescape").decode(errors="backslashreplace")


@lru_cache(maxsize=1 << 12)
def _instant(text: str | None) -> str | None:
    """Return an instant as tables have it, in UTC to the microsecond; None for what is no instant."""
    try:
        moment = datetime.fromisoformat(text or "")
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.strftime(INSTANT)
