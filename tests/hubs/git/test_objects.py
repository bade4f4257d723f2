"""Objects of git as a process and a remote may send them: malformed, cut, of another kind, too long."""

import io
import re
from collections.abc import Mapping

import pytest

from ptmtorrent.errors import HubError, IntegrityError, NotFound, PtmError
from ptmtorrent.hubs.git.objects import (
    GITLINK_MODE,
    TREE_MODE,
    Objects,
    git_object_id,
    join_proof,
    parse_commit,
    parse_tree,
    pointer_ids,
    split_proof,
)
from ptmtorrent.hubs.git.trees import Found, hub_files, read_snapshot
from ptmtorrent.model.manifest import LINK_MODE, REGULAR_MODE
from ptmtorrent.model.pointers import MAX_PADDED_BYTES, Pointer, format_pointer, pointer_git_id

OID = "a" * 40
BLOB = git_object_id("blob", b"text")


class Kept(Objects):
    """Objects that are kept here by id, as `git cat-file` would send them."""

    def __init__(self, *objects: tuple[str, bytes]) -> None:
        self.bodies = {git_object_id(kind, body): (kind, body) for kind, body in objects}
        self.input = io.BytesIO()
        super().__init__(self.input, io.BytesIO())

    def read(self, oid: str, kind: str, limit: int = 0) -> bytes:
        del limit
        found = self.bodies.get(oid)
        head = f"{oid} missing\n".encode() if found is None else f"{oid} {found[0]} {len(found[1])}\n".encode()
        self._output = io.BytesIO(head + (found[1] if found else b"") + b"\n")
        return super().read(oid, kind)


def entry(mode: int, name: str, oid: str) -> bytes:
    return f"{mode:o} {name}\0".encode() + bytes.fromhex(oid)


@pytest.mark.parametrize(
    ("sent", "error", "reason"),
    [
        (b"", NotFound, "was not found: git exited"),
        (f"{OID} missing\n".encode(), NotFound, f"was not found: {OID} missing"),
        (f"{'b' * 40} blob 4\ntext\n".encode(), NotFound, "was not found"),
        (f"{OID} blob many\n".encode(), NotFound, "was not found"),
        (b"x" * 300, NotFound, "was not found"),
        (f"{OID} tree 4\ntext\n".encode(), HubError, f"`{OID}` is a tree, not a blob"),
        (f"{OID} blob 5\ntext\n".encode(), HubError, "`a+` is 5 B, over the limit of 4 B"),
        (f"{OID} blob 4\nte".encode(), HubError, "git exited in the middle of an object"),
        (f"{OID} blob 4\ntext".encode(), HubError, "git exited in the middle of an object"),
        (f"{OID} blob 4\ntext\n".encode(), IntegrityError, "does not match its id"),
    ],
)
def test_an_object_that_git_does_not_send_is_an_error_that_says_why(
    sent: bytes, error: type[PtmError], reason: str
) -> None:
    asked = io.BytesIO()

    with pytest.raises(error, match=reason) as caught:
        Objects(asked, io.BytesIO(sent)).read(OID, "blob", limit=4)
    assert type(caught.value) is error
    assert asked.getvalue() == f"{OID}\n".encode()


def test_a_git_that_has_ended_is_an_error_of_the_hub() -> None:
    class Broken(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    with pytest.raises(HubError, match="git exited before its objects were read"):
        Objects(Broken(), io.BytesIO()).read(OID, "blob")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"100644 a", "malformed at byte 0"),
        (b"100644 a/b\0" + bytes(20), "malformed at byte 0"),
        (b"100644 \0" + bytes(20), "malformed at byte 0"),
        (entry(REGULAR_MODE, "a", OID) + b"100644 b\0short", "malformed at byte 29"),
        (entry(REGULAR_MODE, "a", OID) * 2, "has the same name twice"),
        (entry(REGULAR_MODE, "a", OID) + entry(TREE_MODE, "a", OID), "has the same name twice"),
    ],
)
def test_a_tree_that_is_malformed_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(HubError, match=reason):
        parse_tree(body)


@pytest.mark.parametrize("body", [b"", b"parent x", b"tree " + b"A" * 40 + b"\n", b"tree " + b"a" * 40])
def test_a_commit_without_a_tree_is_refused(body: bytes) -> None:
    with pytest.raises(HubError, match="does not begin with its tree"):
        parse_commit(body)


PROOF = [("commit", b"one"), ("tree", b""), ("blob", b"x\0y")]


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"tag 1\0x", 0),
        (b"commit 3\0on", 0),
        (b"commit 1234567890\0", 0),
        (join_proof(PROOF) + b"tree", len(join_proof(PROOF))),
        (join_proof(PROOF) + b"tree -1\0", len(join_proof(PROOF))),
    ],
)
def test_kept_objects_that_are_malformed_are_refused(data: bytes, at: int) -> None:
    assert split_proof(join_proof(PROOF)) == PROOF

    with pytest.raises(IntegrityError, match=f"the kept git objects are malformed at byte {at}"):
        split_proof(data)


def test_a_pointer_may_have_the_id_of_each_odd_pointer_to_its_bytes_that_was_kept() -> None:
    sha256 = "c" * 64
    text = format_pointer(Pointer(sha256=sha256, size=5))
    odd, other = text.replace(b"\n", b"\r\n"), format_pointer(Pointer(sha256=sha256, size=6)) + b"x y\n"
    answers = [("blob", odd), ("blob", other), ("blob", b"no pointer"), ("tree", odd)]

    assert pointer_ids(answers, sha256, 5) == {pointer_git_id(sha256, 5), git_object_id("blob", odd)}


INNER = entry(REGULAR_MODE, "b.txt", BLOB)
OUTER = entry(TREE_MODE, "a", git_object_id("tree", INNER)) + entry(REGULAR_MODE, "c.txt", BLOB)
COMMIT = f"tree {git_object_id('tree', OUTER)}\n".encode()
OBJECTS = (("commit", COMMIT), ("tree", OUTER), ("tree", INNER))


@pytest.mark.parametrize(
    ("under", "paths", "proof"),
    [("", [b"c.txt", b"a/b.txt"], 3), ("a", [b"b.txt"], 3), ("/a/", [b"b.txt"], 3)],
)
def test_the_paths_of_a_folder_come_with_every_object_on_the_way(under: str, paths: list[bytes], proof: int) -> None:
    snapshot = read_snapshot(Kept(*OBJECTS), git_object_id("commit", COMMIT), under)

    assert [found.path for found in snapshot.found] == paths
    assert len(snapshot.proof) == proof
    assert snapshot.proof[0] == ("commit", COMMIT)


@pytest.mark.parametrize("under", ["b", "a/b", "c.txt", "a/b.txt", ".."])
def test_a_folder_that_a_commit_does_not_have_is_not_found(under: str) -> None:
    with pytest.raises(NotFound, match=f"has no folder `{re.escape(under)}`"):
        read_snapshot(Kept(*OBJECTS), git_object_id("commit", COMMIT), under)


def files_of(bodies: Mapping[bytes, tuple[int, bytes]]) -> tuple[Kept, tuple[Found, ...], dict[str, int]]:
    kept = Kept(*(("blob", body) for _, body in bodies.values()))
    found = [Found(path=path, mode=mode, oid=git_object_id("blob", body)) for path, (mode, body) in bodies.items()]
    return kept, tuple(found), {oid: len(body) for oid, (_, body) in kept.bodies.items()}


def test_pointers_become_the_files_that_they_name_and_odd_ones_are_kept() -> None:
    pointer = format_pointer(Pointer(sha256="c" * 64, size=5))
    odd = pointer.replace(b"\n", b"\r\n")
    long = pointer.ljust(MAX_PADDED_BYTES + 1, b"\n")
    bodies = {
        b"b.bin": (0o100664, pointer),
        b"a.bin": (0o100755, odd),
        b"link": (LINK_MODE, pointer),
        b"long.txt": (REGULAR_MODE, long),
        b"out": (LINK_MODE, b"../x"),
        b"empty": (REGULAR_MODE, b""),
        b"module": (GITLINK_MODE, b"commit of another remote"),
    }
    objects, found, sizes = files_of(bodies)

    files, kept = hub_files(objects, found, sizes, "`git:x`")

    assert [(file.path, file.source, file.size, file.mode) for file in files] == [
        ("a.bin", "lfs", 5, 0o100755),
        ("b.bin", "lfs", 5, REGULAR_MODE),
        ("empty", "git", 0, REGULAR_MODE),
        ("link", "git", len(pointer), REGULAR_MODE),
        ("long.txt", "git", len(long), REGULAR_MODE),
        ("out", "git", 4, REGULAR_MODE),
    ]
    assert kept == {git_object_id("blob", odd): ("blob", odd)}


def test_a_blob_that_the_remote_did_not_send_is_named_with_its_path() -> None:
    objects, found, _ = files_of({b"a.txt": (REGULAR_MODE, b"text")})

    with pytest.raises(NotFound, match=f"`git:x`: the remote did not send the blob `{BLOB}` of 'a.txt'"):
        hub_files(objects, found, {}, "`git:x`")


@pytest.mark.parametrize("path", [b"../a", b"../.git/config", b"a/../b", b"a//b", b"a/."])
def test_a_path_that_no_manifest_may_have_is_refused_naming_the_package(path: bytes) -> None:
    objects, found, sizes = files_of({path: (REGULAR_MODE, b"text")})

    with pytest.raises(IntegrityError, match=r"^`git:x`: the path .* is refused"):
        hub_files(objects, found, sizes, "`git:x`")
