r"""Commits, trees and blobs: reads them from a bare clone, and proves that files belong to a commit.

An object's id is the SHA-1 of `<kind> <length>\0<body>`. It is computed again for everything that is read, so neither
git nor the remote is trusted. Source: git, "Git Objects"; `git help cat-file`, "BATCH OUTPUT".
"""

import hashlib
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import msgspec

from ptmtorrent.errors import HubError, IntegrityError, NotFound
from ptmtorrent.hubs.git.process import Git, end
from ptmtorrent.model.ids import MAX_PATH_BYTES
from ptmtorrent.model.manifest import LINK_MODE, REGULAR_MODE
from ptmtorrent.model.pointers import parse_pointer, pointer_git_id
from ptmtorrent.model.text import spell_size

PROOF = "git"
"""Name of the raw answer that holds a commit, its trees and odd pointers; `split_proof` parses it."""

FOLDER_PROOF = "git-folder"
"""Name of the same answer for the files of one folder of the commit, which is named like the package."""

TREE_MODE = 0o40000
GITLINK_MODE = 0o160000
MAX_DOCUMENT_BYTES = 16 << 20
"""Limit of commits and trees (16 MiB): a folder of a quarter of a million files."""

_SHARED_TREE_BYTES = 64 << 10
MAX_DEPTH = 128
_CHUNK_BYTES = 1 << 20
_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0/]+)\0(.{20})", re.DOTALL)
_TREE = re.compile(rb"tree ([0-9a-f]{40})\n")
_PROOF = re.compile(rb"(commit|tree|blob) ([0-9]{1,9})\0")
_HEADER = re.compile(r"([0-9a-f]{40}) ([a-z]+) ([0-9]{1,19})\n")


class TreeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a tree: the mode and name exactly as stored in git, and the object's id."""

    mode: int
    name: bytes
    oid: str


def git_object_id(kind: str, body: bytes) -> str:
    """Return the SHA-1 id of an object."""
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(body), body), usedforsecurity=False).hexdigest()


def parse_tree(body: bytes) -> Sequence[TreeEntry]:
    """Return the entries of a tree.

    Packages that are folders of one commit have the trees above them in common: small ones are parsed once.

    Raises:
        HubError: the tree is malformed, or a name occurs twice.
    """
    return _parse_shared(body) if len(body) <= _SHARED_TREE_BYTES else _parse(body)


@lru_cache(maxsize=32)
def _parse_shared(body: bytes) -> Sequence[TreeEntry]:
    return _parse(body)


def _parse(body: bytes) -> Sequence[TreeEntry]:
    entries, at = [], 0
    while at < len(body):
        match = _ENTRY.match(body, at)
        if match is None:
            raise HubError(f"a git tree is malformed at byte {at}")
        entries.append(TreeEntry(mode=int(match[1], 8), name=match[2], oid=match[3].hex()))
        at = match.end()
    if len({entry.name for entry in entries}) != len(entries):
        raise HubError("a git tree has the same name twice")
    return tuple(entries)


def file_mode(mode: int) -> int:
    """Return the mode in manifests for a file or link with this mode: old trees have `100664` and the like."""
    return mode if mode in {LINK_MODE, GITLINK_MODE, TREE_MODE} else 0o100755 if mode & 0o100 else 0o100644


def parse_commit(body: bytes) -> str:
    """Return the id of a commit's tree.

    Raises:
        HubError: the commit is malformed.
    """
    match = _TREE.match(body)
    if match is None:
        raise HubError("a git commit does not begin with its tree")
    return match[1].decode()


def join_proof(proof: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the objects concatenated in the form git hashes; each header states the length, so they can be split."""
    return b"".join(b"%s %d\0%s" % (kind.encode(), len(body), body) for kind, body in proof)


def split_proof(data: bytes) -> list[tuple[str, bytes]]:
    """Return the objects that `join_proof` concatenated.

    Raises:
        IntegrityError: `data` is malformed.
    """
    proof, at = [], 0
    while at < len(data):
        match = _PROOF.match(data, at)
        end = match.end() + int(match[2]) if match else 0
        if match is None or end > len(data):
            raise IntegrityError(f"the kept git objects are malformed at byte {at}")
        proof.append((match[1].decode(), data[match.end() : end]))
        at = end
    return proof


class Objects:
    """The objects of one bare clone. Not thread-safe."""

    def __init__(self, input_: IO[bytes], output: IO[bytes]) -> None:
        self._input = input_
        self._output = output

    def read(self, oid: str, kind: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return the verified body of an object.

        Raises:
            NotFound: it does not exist; IntegrityError: it does not match its id; HubError: another kind, or too long.
        """
        size = self._ask(oid, kind)
        if size > limit:
            raise HubError(f"the git {kind} `{oid}` is {spell_size(size)}, over the limit of {spell_size(limit)}")
        body = self._take(size)
        self._take(1)
        if git_object_id(kind, body) != oid:
            raise IntegrityError(f"the git {kind} `{oid}` does not match its id")
        return body

    def pieces(self, oid: str) -> Generator[bytes]:
        """Yield the bytes of a blob, in bounded memory; they are verified after the last one.

        Raises:
            NotFound: it does not exist; IntegrityError: it does not match its id.
        """
        size = left = self._ask(oid, "blob")
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        while left:
            piece = self._take(min(left, _CHUNK_BYTES))
            digest.update(piece)
            left -= len(piece)
            yield piece
        self._take(1)
        if digest.hexdigest() != oid:
            raise IntegrityError(f"the git blob `{oid}` does not match its id")

    def _ask(self, oid: str, kind: str) -> int:
        try:
            self._input.write(f"{oid}\n".encode())
            self._input.flush()
        except OSError as error:
            raise HubError("git exited before its objects were read") from error
        line = self._output.readline(256).decode(errors="replace")
        match = _HEADER.fullmatch(line)
        if match is None or match[1] != oid:
            raise NotFound(f"the git {kind} `{oid}` was not found: {line.strip() or 'git exited'}")
        if match[2] != kind:
            raise HubError(f"the git object `{oid}` is a {match[2]}, not a {kind}")
        return int(match[3])

    def _take(self, size: int) -> bytes:
        data = self._output.read(size)
        if len(data) != size:
            raise HubError("git exited in the middle of an object")
        return data


@contextmanager
def open_objects(git: Git, folder: Path) -> Iterator[Objects]:
    """Yield the objects of the bare clone in `folder`; the git process is killed afterwards."""
    with tempfile.TemporaryFile() as errors:
        process = git.start(["cat-file", "--batch"], folder, errors)
        try:
            assert process.stdin is not None  # noqa: S101  # narrows the type: `start` makes both pipes
            assert process.stdout is not None  # noqa: S101
            yield Objects(process.stdin, process.stdout)
        finally:
            end(process)
            process.communicate()


def blob_sizes(git: Git, folder: Path, what: str) -> dict[str, int]:
    """Return the size of every blob in `folder`, from one git command."""
    order = [
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        "--batch-check=%(objectname) %(objecttype) %(objectsize)",
    ]
    rows = (line.split() for line in git.run(order, what, folder).decode(errors="replace").splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) == 3 and row[1] == "blob"}


def check_proof(
    commit: str,
    answers: Sequence[tuple[str, bytes]],
    files: Mapping[bytes, tuple[frozenset[int], frozenset[str]]],
    under: bytes = b"",
) -> None:
    """Check that `files` (modes and ids that are allowed, by path below `under`) belong to the upstream commit.

    `answers` hold the `commit` and the `tree` objects on the way. For an LFS file the blob is its pointer, see
    `pointer_ids`. Files of the commit that are not in `files` are not an error: completeness is not checked here.

    Raises:
        IntegrityError: naming the first file, tree or commit whose hash is wrong.
    """
    commits = [body for name, body in answers if name == "commit"]
    trees = {git_object_id("tree", body): body for name, body in answers if name == "tree"}
    if len(commits) != 1 or git_object_id("commit", commits[0]) != commit:
        raise IntegrityError(f"the kept commit does not match the id `{commit}`")
    entries: dict[str, dict[bytes, TreeEntry]] = {}
    for path, (modes, oids) in files.items():
        steps = [*filter(None, under.split(b"/")), *path.split(b"/")]
        here = parse_commit(commits[0])
        for index, step in enumerate(steps):
            if here not in entries:
                if here not in trees:
                    raise IntegrityError(f"the tree `{here}` on the way to {path!r} was not kept")
                entries[here] = {entry.name: entry for entry in parse_tree(trees[here])}
            entry = entries[here].get(step)
            wanted = modes if index == len(steps) - 1 else {TREE_MODE}
            if entry is None or file_mode(entry.mode) not in wanted:
                raise IntegrityError(f"the commit `{commit}` has no {path!r} of mode {min(wanted):o}")
            here = entry.oid
        if here not in oids:
            raise IntegrityError(f"the commit `{commit}` has `{here}` at {path!r}, not `{min(oids)}`")


def git_modes(mode: int, size: int) -> frozenset[int]:
    """Return the modes that a file with this mode may have upstream.

    A link that leads out of its package is captured as an ordinary file with the same bytes (docs/formats/manifest.md).
    """
    may_be_link = mode == REGULAR_MODE and size <= MAX_PATH_BYTES
    return frozenset({mode, LINK_MODE} if may_be_link else {mode})


def pointer_ids(answers: Sequence[tuple[str, bytes]], sha256: str, size: int) -> frozenset[str]:
    """Return the git ids that a pointer to this LFS file may have: the canonical one, and those of kept odd pointers.

    The commit must name one of them. Each belongs to a pointer with this SHA-256 and size.
    """
    kept = (git_object_id("blob", body) for kind, body in answers if kind == "blob" and _points_to(body, sha256, size))
    return frozenset({pointer_git_id(sha256, size), *kept})


def _points_to(text: bytes, sha256: str, size: int) -> bool:
    pointer = parse_pointer(text)
    return pointer is not None and (pointer.sha256, pointer.size) == (sha256, size)
