r"""Commits, trees and blobs: reading them out of a bare folder, and proving that files belong to a commit.

An object's id is the SHA-1 of `<kind> <length>\0<body>`. It is computed again for everything that is read, so what git
or the remote says is never taken on trust. Source: git, "Git Objects"; `git help cat-file`, "BATCH OUTPUT".
"""

import hashlib
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from ptmtorrent.errors import HubError, IntegrityError, NotFound
from ptmtorrent.hubs.git.process import Git, end
from ptmtorrent.model.manifest import LINK_MODE, REGULAR_MODE
from ptmtorrent.model.names import MAX_PATH_BYTES
from ptmtorrent.model.pointers import parse_pointer, pointer_git_id

PROOF = "git"
"""The answer that holds a commit, its trees and odd pointers: `split_proof` takes it apart."""

FOLDER_PROOF = "git-folder"
"""The same for files of one folder of the commit, whose name is that of the package."""

TREE_MODE = 0o40000
GITLINK_MODE = 0o160000
MAX_DOCUMENT_BYTES = 16 << 20
"""No commit and no tree is longer (16 MiB): a folder of a quarter of a million files."""

MAX_DEPTH = 128
_CHUNK_BYTES = 1 << 20
_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0/]+)\0(.{20})", re.DOTALL)
_TREE = re.compile(rb"tree ([0-9a-f]{40})\n")
_PROOF = re.compile(rb"(commit|tree|blob) ([0-9]{1,9})\0")
_HEADER = re.compile(r"([0-9a-f]{40}) ([a-z]+) ([0-9]{1,19})\n")


class TreeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a tree: the mode and the name exactly as git has them, and the id of what is there."""

    mode: int
    name: bytes
    oid: str


def git_object_id(kind: str, body: bytes) -> str:
    """Return the SHA-1 git gives to an object."""
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(body), body), usedforsecurity=False).hexdigest()


def parse_tree(body: bytes) -> list[TreeEntry]:
    """Read a tree.

    Raises:
        HubError: it is none, or a name occurs twice.
    """
    entries, at = [], 0
    while at < len(body):
        match = _ENTRY.match(body, at)
        if match is None:
            raise HubError(f"a git tree cannot be read at byte {at}")
        entries.append(TreeEntry(mode=int(match[1], 8), name=match[2], oid=match[3].hex()))
        at = match.end()
    if len({entry.name for entry in entries}) != len(entries):
        raise HubError("a git tree names one thing twice")
    return entries


def file_mode(mode: int) -> int:
    """Return the mode a manifest has for a file or link of this mode: old trees hold `100664` and the like."""
    return mode if mode in {LINK_MODE, GITLINK_MODE, TREE_MODE} else 0o100755 if mode & 0o100 else 0o100644


def parse_commit(body: bytes) -> str:
    """Return the id of a commit's tree.

    Raises:
        HubError: it is no commit.
    """
    match = _TREE.match(body)
    if match is None:
        raise HubError("a git commit does not begin with its tree")
    return match[1].decode()


def join_proof(proof: Sequence[tuple[str, bytes]]) -> bytes:
    """Return objects one after the other as git hashes them: each says how long it is, so they come apart again."""
    return b"".join(b"%s %d\0%s" % (kind.encode(), len(body), body) for kind, body in proof)


def split_proof(data: bytes) -> list[tuple[str, bytes]]:
    """Take apart what `join_proof` made.

    Raises:
        IntegrityError: it is not that.
    """
    proof, at = [], 0
    while at < len(data):
        match = _PROOF.match(data, at)
        end = match.end() + int(match[2]) if match else 0
        if match is None or end > len(data):
            raise IntegrityError(f"the kept git objects cannot be read at byte {at}")
        proof.append((match[1].decode(), data[match.end() : end]))
        at = end
    return proof


class Objects:
    """The objects of one bare folder. One thread at a time."""

    def __init__(self, input_: IO[bytes], output: IO[bytes]) -> None:
        self._input = input_
        self._output = output

    def read(self, oid: str, kind: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return the body of an object, checked.

        Raises:
            NotFound: it is not there; IntegrityError: other bytes than its id; HubError: another kind, or too long.
        """
        size = self._ask(oid, kind)
        if size > limit:
            raise HubError(f"the git {kind} `{oid}` has {size} bytes, more than {limit}")
        body = self._take(size)
        self._take(1)
        if git_object_id(kind, body) != oid:
            raise IntegrityError(f"the git {kind} `{oid}` has other bytes than its id says")
        return body

    def pieces(self, oid: str) -> Generator[bytes]:
        """Yield the bytes of a blob, in bounded memory; they are checked at their end.

        Raises:
            NotFound: it is not there; IntegrityError: other bytes than its id.
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
            raise IntegrityError(f"the git blob `{oid}` has other bytes than its id says")

    def _ask(self, oid: str, kind: str) -> int:
        try:
            self._input.write(f"{oid}\n".encode())
            self._input.flush()
        except OSError as error:
            raise HubError("git ended before its objects were read") from error
        line = self._output.readline(256).decode(errors="replace")
        match = _HEADER.fullmatch(line)
        if match is None or match[1] != oid:
            raise NotFound(f"the git {kind} `{oid}` is not there: {line.strip() or 'git ended'}")
        if match[2] != kind:
            raise HubError(f"the git object `{oid}` is a {match[2]}, not a {kind}")
        return int(match[3])

    def _take(self, size: int) -> bytes:
        data = self._output.read(size)
        if len(data) != size:
            raise HubError("git ended in the middle of an object")
        return data


@contextmanager
def open_objects(git: Git, folder: Path) -> Iterator[Objects]:
    """Give the objects of the bare `folder`; git is ended afterwards."""
    with tempfile.TemporaryFile() as errors:
        process = git.start(["cat-file", "--batch"], folder, errors)
        try:
            if process.stdin is None or process.stdout is None:
                raise HubError("git was started without a way to talk to it")
            yield Objects(process.stdin, process.stdout)
        finally:
            end(process)
            process.communicate()


def blob_sizes(git: Git, folder: Path, what: str) -> dict[str, int]:
    """Return the length of every blob in `folder`, asked for once for all."""
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
    """Check that `files` belong to the upstream commit: by path below `under`, the modes and ids that prove them.

    `answers` hold the `commit` and the `tree` objects on the way. For an LFS file the blob is its pointer, see
    `pointer_ids`. Files of the commit that `files` does not name are no error: that nothing is missing is another
    question.

    Raises:
        IntegrityError: naming the first file, tree or commit that does not hash up.
    """
    commits = [body for name, body in answers if name == "commit"]
    trees = {git_object_id("tree", body): body for name, body in answers if name == "tree"}
    if len(commits) != 1 or git_object_id("commit", commits[0]) != commit:
        raise IntegrityError(f"the commit `{commit}` is not the one that was kept")
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
    """Return the modes that a file of this mode can have upstream.

    A link that leads out of its package is kept as an ordinary file (docs/formats/manifest.md): its bytes are the same.
    """
    may_be_link = mode == REGULAR_MODE and size <= MAX_PATH_BYTES
    return frozenset({mode, LINK_MODE} if may_be_link else {mode})


def pointer_ids(answers: Sequence[tuple[str, bytes]], sha256: str, size: int) -> frozenset[str]:
    """Return the git ids that a pointer to this LFS file can have: the usual one, and those of pointers that were kept.

    What the commit names must be one of them; each was made from this SHA-256 and size.
    """
    kept = (git_object_id("blob", body) for kind, body in answers if kind == "blob" and _points_to(body, sha256, size))
    return frozenset({pointer_git_id(sha256, size), *kept})


def _points_to(text: bytes, sha256: str, size: int) -> bool:
    pointer = parse_pointer(text)
    return pointer is not None and (pointer.sha256, pointer.size) == (sha256, size)
