"""The packages of the sample hub, with computed git ids, LFS oids and commits."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

import msgspec

from ptmtorrent.demo.contents import Content, InMemory, git_sha1_of, sha256_of
from ptmtorrent.demo.git_ids import hash_commit, hash_trees, pointer
from ptmtorrent.demo.package import Package


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a commit: its git id, which for an LFS file is that of the pointer, and its LFS oid."""

    path: str
    content: Content
    git_id: str
    sha256: str | None
    pointer: bytes

    @property
    def etag(self) -> str:
        """The ETag of the file: the LFS oid, else the git id."""
        return self.sha256 or self.git_id


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A package at its one commit. `folders` maps every folder to its git tree."""

    package: Package
    commit: str
    rows: dict[str, Row]
    folders: dict[str, str]

    @property
    def hub_id(self) -> str:
        """The permanent id of the package, 24 hex digits; it changes when the name is registered again."""
        registered = self.package.registered_as or self.package.name
        return sha256(f"{registered}{self.package.registration}".encode()).hexdigest()[:24]


class Catalogue:
    """All packages by name, and all LFS files by oid."""

    def __init__(self, packages: Iterable[Package]) -> None:
        self._revisions: dict[str, Revision] = {}
        self._lfs: dict[str, Row] = {}
        for package in packages:
            self.add(package)

    def __iter__(self) -> Iterator[Revision]:
        return iter(sorted(self._revisions.values(), key=lambda revision: revision.package.name))

    def add(self, package: Package) -> None:
        """Add `package`, which replaces one with the same name."""
        revision = _commit(package)
        self._lfs |= {row.sha256: row for row in revision.rows.values() if row.sha256}
        self._revisions = {**self._revisions, package.name: revision}

    def remove(self, name: str) -> None:
        """Remove the package called `name`."""
        self._revisions = {key: revision for key, revision in self._revisions.items() if key != name}

    def find(self, name: str) -> Revision | None:
        """Return the package called `name`, if any."""
        return self._revisions.get(name)

    def find_lfs(self, oid: str) -> Row | None:
        """Return a file with the LFS oid `oid`, if any."""
        return self._lfs.get(oid)


def _commit(package: Package) -> Revision:
    rows: dict[str, Row] = {}
    for file in package.files:
        oid = sha256_of(file.content) if file.is_lfs else None
        text = pointer(oid, file.content.size) if oid else b""
        git_id = git_sha1_of(InMemory(text) if oid else file.content)
        rows[file.path] = Row(path=file.path, content=file.content, git_id=git_id, sha256=oid, pointer=text)
    trees = hash_trees({path: row.git_id for path, row in rows.items()})
    commit = hash_commit(trees.root, package.created_seconds)
    return Revision(package=package, commit=commit, rows=rows, folders=trees.folders)
