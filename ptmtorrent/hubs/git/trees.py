"""The content of a commit: every file with its mode, LFS pointers recognised, and the objects that prove it."""

from collections.abc import Iterator

import msgspec

from ptmtorrent.errors import HubError, IntegrityError, NotFound
from ptmtorrent.hubs.git.objects import (
    GITLINK_MODE,
    MAX_DEPTH,
    TREE_MODE,
    Objects,
    file_mode,
    parse_commit,
    parse_tree,
)
from ptmtorrent.hubs.port import MAX_FILES, HubFile, mode_and_link, set_aside_unsafe
from ptmtorrent.model.ids import MAX_PATH_BYTES, path_bytes
from ptmtorrent.model.manifest import LINK_MODE
from ptmtorrent.model.pointers import MAX_PADDED_BYTES, parse_pointer, pointer_git_id

MAX_PROOF_BYTES = 64 << 20


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a commit, with mode and object id as in its tree."""

    path: bytes
    mode: int
    oid: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All paths of a commit (or of a folder in it), and its `commit` and `tree` objects, byte for byte."""

    found: tuple[Found, ...]
    proof: tuple[tuple[str, bytes], ...]


def read_snapshot(objects: Objects, commit: str, under: str = "") -> Snapshot:
    """Return the paths of `commit`; with `under`, those below that folder, relative to it.

    Raises:
        NotFound: the folder does not exist; HubError: the trees are too deep, too large or too many.
    """
    body = objects.read(commit, "commit")
    proof = {commit: ("commit", body)}
    here = parse_commit(body)
    for step in filter(None, under.split("/")):
        tree = objects.read(here, "tree")
        proof[here] = ("tree", tree)
        below = [entry.oid for entry in parse_tree(tree) if entry.name == step.encode() and entry.mode == TREE_MODE]
        if not below:
            raise NotFound(f"the commit `{commit}` has no folder `{under}`")
        here = below[0]
    found = tuple(_walk(objects, here, proof))
    return Snapshot(found=found, proof=tuple(proof.values()))


def _walk(objects: Objects, root: str, proof: dict[str, tuple[str, bytes]]) -> Iterator[Found]:
    waiting = [(b"", root, 0)]
    count, total, named = 0, 0, 0
    while waiting:
        prefix, oid, depth = waiting.pop()
        body = proof[oid][1] if oid in proof else objects.read(oid, "tree")
        total += len(body)
        proof[oid] = ("tree", body)
        for entry in parse_tree(body):
            count += 1
            named += len(prefix) + len(entry.name)
            if count > MAX_FILES or depth > MAX_DEPTH or max(total, named) > MAX_PROOF_BYTES:
                raise HubError(f"the git tree `{root}` has too many files or folders, or is too deep")
            if len(prefix) + len(entry.name) > MAX_PATH_BYTES:
                raise IntegrityError(f"the git tree `{root}` has a path longer than {MAX_PATH_BYTES:,} bytes")
            if entry.mode == TREE_MODE:
                waiting.append((prefix + entry.name + b"/", entry.oid, depth + 1))
            else:
                yield Found(path=prefix + entry.name, mode=entry.mode, oid=entry.oid)


Blobs = dict[str, tuple[str, bytes]]
"""Blobs by id, each as `("blob", body)`."""


def hub_files(
    objects: Objects, found: tuple[Found, ...], sizes: dict[str, int], what: str
) -> tuple[list[HubFile], Blobs]:
    """Return the files to fetch, sorted by path, and the odd pointers; gitlinks are left out (the trees record them).

    A pointer is replaced by its LFS file. A pointer whose git id does not follow from oid and size, because it has
    further lines, other line ends or names an empty file, is returned too, as part of the proof (ADR 0021). Text that
    only resembles a pointer is an ordinary file.

    Raises:
        IntegrityError: a path is not allowed in a manifest; NotFound: the remote did not send a blob.
    """
    odd: Blobs = {}
    files = [_file(objects, one, sizes, odd, what) for one in found if one.mode != GITLINK_MODE]
    try:
        files = set_aside_unsafe(files)
    except IntegrityError as error:
        raise IntegrityError(f"{what}: {error.message}") from error
    return sorted(files, key=lambda file: path_bytes(file.path)), odd


def _file(objects: Objects, one: Found, sizes: dict[str, int], odd: Blobs, what: str) -> HubFile:
    path = one.path.decode(errors="surrogateescape")
    size = sizes.get(one.oid)
    if size is None:
        raise NotFound(f"{what}: the remote did not send the blob `{one.oid}` of {path!r}")
    mode = file_mode(one.mode)
    if 0 < size <= MAX_PADDED_BYTES and mode != LINK_MODE:
        text = objects.read(one.oid, "blob")
        pointer = parse_pointer(text)
        if pointer is not None:
            if pointer_git_id(pointer.sha256, pointer.size) != one.oid:
                odd[one.oid] = ("blob", text)
            return HubFile(path=path, size=pointer.size, oid=f"sha256:{pointer.sha256}", source="lfs", mode=mode)
    target = objects.read(one.oid, "blob") if mode == LINK_MODE and size <= MAX_PATH_BYTES else None
    mode, link = mode_and_link(path, mode, target)
    return HubFile(path=path, size=size, oid=f"git:{one.oid}", source="git", mode=mode, link=link)
