"""How the documents of members are read: few requests, little that is not wanted, and nothing unproven."""

import msgspec
import pytest

from ptmtorrent.catalogue import index
from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.errors import IntegrityError, NoSource, PtmError
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.release import Release
from tests.catalogue.releases import NAMES, Files, framed, release_of, texts_of


def read_every_other(files: Files) -> tuple[int, int, int]:
    """Return the requests and bytes that reading every other member takes, and the bytes of their frames."""
    rows = framed(files, 0, dict.fromkeys(NAMES, "text"))
    members = find_members(release_of(files, [(rows, 0)], rows), files, (), "all", ())[::2]
    files.asked.clear()
    assert all(each.manifest for each in describe_members(members, files))
    frames = sum(member.row.frame.length for member in members if member.row.frame)
    return len(files.asked), sum(length for _, length in files.asked), frames


def test_a_little_between_frames_costs_less_than_a_request() -> None:
    requests, _, _ = read_every_other(Files())
    assert requests == 1


def test_no_more_than_a_share_is_read_of_what_lies_between_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "GAP_BYTES", 0)
    requests, read, frames = read_every_other(Files())
    assert read <= frames * index.GAP_SHARE / (index.GAP_SHARE - 1)
    assert requests > 1


def test_documents_beside_each_other_are_read_with_one_request(release: Release, files: Files) -> None:
    members = find_members(release, files, (), "all", ())
    files.asked.clear()

    texts_of(members, files)

    assert len(files.asked) == 2  # one for each file of documents


def test_a_flipped_frame_costs_its_own_package_alone(release: Release, files: Files) -> None:
    members = find_members(release, files, (), "all", ())
    path = "releases/r0/index/documents.bin"
    frame = next(member.row.frame for member in members if member.package == NAMES[7])
    assert frame
    data = bytearray(files.files[path])
    data[frame.offset + 9] ^= 1
    files.files[path] = bytes(data)

    found = {each.member.package: each.error for each in describe_members(members, files)}

    assert {name for name, error in found.items() if error} == {NAMES[7]}
    assert path in str(found[PackageName(NAMES[7])])


@pytest.mark.parametrize(("gone", "error"), [("releases/r0/index/documents.bin", NoSource)])
def test_a_mirror_without_documents_is_an_error_of_each_package(
    release: Release, files: Files, gone: str, error: type[PtmError]
) -> None:
    members = find_members(release, files, (), "all", ())
    del files.files[gone]

    failed = [each for each in describe_members(members, files) if each.error]

    assert {type(each.error) for each in failed} == {error}
    assert len(failed) == 38


def test_documents_are_read_while_others_are_decoded_and_in_order(release: Release, files: Files) -> None:
    members = find_members(release, files, (), "all", ())

    assert [each.member for each in describe_members(members[::-1], files)] == members[::-1]


def test_documents_of_another_package_are_refused(files: Files) -> None:
    rows = framed(files, 0, dict.fromkeys(NAMES, "old"))
    lying = [msgspec.structs.replace(rows[0], package=PackageName("hf:many/99")), *rows[1:]]
    release = release_of(files, [(lying, 0)], lying)
    members = find_members(release, files, (), "all", ())

    failed = {each.member.package: each.error for each in describe_members(members, files) if each.error}

    assert set(failed) == {"hf:many/99"}
    error = failed[PackageName("hf:many/99")]
    assert isinstance(error, IntegrityError)
    assert "the snapshot listed for `hf:many/99` belongs to `hf:many/00`" in error.message
