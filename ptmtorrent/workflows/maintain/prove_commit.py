"""Prove that the files of a git-hosted package belong to its upstream commit.

The commit and its trees are stored with the package, so the proof needs no other source: the git id of a file follows
from its bytes, that of an LFS pointer from SHA-256 and size, that of a tree from its entries, that of a commit from
its tree.
"""

import hashlib
from collections.abc import Iterator

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.git.objects import (
    FOLDER_PROOF,
    PROOF,
    check_proof,
    git_modes,
    git_object_id,
    pointer_ids,
    split_proof,
)
from ptmtorrent.model.ids import path_bytes
from ptmtorrent.model.manifest import FileEntry, Manifest, Run
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.store.store import Store


def is_provable(manifest: Manifest) -> bool:
    """Return whether the git objects for a proof are stored with the package."""
    return any(answer.name in {PROOF, FOLDER_PROOF} for answer in manifest.raw)


def prove(store: Store, manifest: Manifest, *, thorough: bool, stop: Stop) -> None:
    """Check every git or LFS file against the upstream commit; `thorough` hashes the stored bytes again.

    Files from other sources are not part of the commit and are skipped.

    Raises:
        IntegrityError: a file does not belong to the commit; it is named.
        PtmError: the same errors as `Store.read`.
    """
    [answer] = [answer for answer in manifest.raw if answer.name in {PROOF, FOLDER_PROOF}]
    proof = split_proof(b"".join(_read(store, manifest, answer.recipe)))
    under = path_bytes(manifest.package.name) if answer.name == FOLDER_PROOF else b""
    rows = {}
    for file in manifest.files:
        if file.source not in {"git", "lfs"}:
            continue
        stop.raise_if_set("the check", hint=ANEW_HINT)
        sha256, git_sha1 = _hash(store, manifest, file) if thorough else (file.sha256, file.git_sha1)
        if file.source == "git" and git_sha1 is None:
            raise IntegrityError(f"the file {file.name!r} was cloned from git, but its git id was not recorded")
        oids = pointer_ids(proof, sha256, file.size) if file.source == "lfs" else frozenset({git_sha1 or ""})
        rows[path_bytes(file.name)] = (git_modes(file.mode, file.size), oids)
    check_proof(manifest.package.commit, proof, rows, under)


def read_commit(store: Store, manifest: Manifest) -> bytes:
    """Return the body of the upstream commit of a provable package.

    Raises:
        IntegrityError: the kept answer has no such commit.
        PtmError: the same errors as `Store.read`.
    """
    [answer] = [answer for answer in manifest.raw if answer.name in {PROOF, FOLDER_PROOF}]
    for kind, body in split_proof(b"".join(_read(store, manifest, answer.recipe))):
        if kind == "commit" and git_object_id(kind, body) == manifest.package.commit:
            return body
    raise IntegrityError(f"`{manifest.package.package}` has no commit `{manifest.package.commit}` in its proof")


def _hash(store: Store, manifest: Manifest, file: FileEntry) -> tuple[str, str]:
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    for data in _read(store, manifest, file.recipe):
        sha256.update(data)
        if file.source == "git":
            sha1.update(data)
    return sha256.hexdigest(), sha1.hexdigest()


def _read(store: Store, manifest: Manifest, recipe: tuple[Run, ...]) -> Iterator[bytes]:
    for row in manifest.objects_of(recipe):
        yield store.read(manifest.objects[row][0])
