"""The members that a reader finds in releases of one or two runs, proven by their root."""

from collections.abc import Callable

import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.catalogue import index
from ptmtorrent.catalogue.index import describe_members, find_members
from ptmtorrent.errors import IntegrityError, NotFound, UsageError
from ptmtorrent.model import canonical, members
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.members import MemberRow, RunShards, Tree, decode_tree, encode_tree, prefix_of, spell_names
from ptmtorrent.model.release import Release
from tests.catalogue.releases import NAMES, NAMES_LEFT, Files, framed, release_of, texts_of
from tests.model.generated import hex64


def test_a_later_run_replaces_adds_and_removes(release: Release, files: Files) -> None:
    members = find_members(release, files, (), "all", ())

    assert sorted(member.package for member in members) == NAMES_LEFT
    assert len(members) == 40
    assert len(texts_of(members, files)) == 40


@pytest.mark.parametrize(("name", "run"), [(NAMES[0], 1), ("hf:one/more", 1), (NAMES[2], 0)])
def test_a_package_is_found_in_the_run_that_has_it_last(release: Release, files: Files, name: str, run: int) -> None:
    [member] = find_members(release, files, (name,), None, ())

    assert member.documents.path == f"releases/r{run}/index/documents.bin"
    [found] = describe_members([member], files)
    assert found.manifest
    assert found.manifest.package.package == name


def test_one_package_takes_the_tree_a_shard_of_each_run_and_its_frame(release: Release, files: Files) -> None:
    members = find_members(release, files, (NAMES[5],), None, ())
    texts_of(members, files)

    assert [path.rpartition("/")[2] for path, _ in files.asked] == ["tree.bin", "rows.bin", "rows.bin", "documents.bin"]
    assert members[0].row.frame
    assert files.asked[-1][1] == members[0].row.frame.length
    assert files.asked[1][1] < release.runs[0].index.size


def test_a_package_that_was_removed_is_not_found_and_a_near_one_is_named(release: Release, files: Files) -> None:
    with pytest.raises(NotFound) as caught:
        find_members(release, files, (NAMES[1],), None, ())

    assert "did you mean `hf:many/" in (caught.value.hint or "")
    assert NAMES[1] not in (caught.value.hint or "")


def test_a_subset_has_the_members_it_names_and_narrows_their_files(release: Release, files: Files) -> None:
    files.put("releases/r1/subsets/few.txt", spell_names([PackageName(name) for name in (NAMES[0], NAMES[2])]))
    ref = release.subset("few").members
    assert ref
    data = files.files[ref.path]
    subset = msgspec.structs.replace(
        release.subset("few"),
        members=msgspec.structs.replace(ref, size=len(data), blake3=blake3(data).hexdigest()),
    )
    narrowed = msgspec.structs.replace(release, subsets=(subset,))

    members = find_members(narrowed, files, (), "few", ())

    assert [(member.package, member.only) for member in members] == [
        (NAMES[2], ("config",)),
        (NAMES[0], ("config",)),
    ]
    with pytest.raises(UsageError, match="only config"):
        find_members(narrowed, files, (), "few", ("weights",))


def test_a_subset_that_names_no_member_of_the_release_is_refused(release: Release, files: Files) -> None:
    with pytest.raises(IntegrityError, match="lacks"):
        find_members(release, files, (), "few", ())


def test_a_subset_of_more_names_than_members_is_refused_before_they_are_split(release: Release, files: Files) -> None:
    data = b"a\n" * 41
    ref = files.put("releases/r1/subsets/few.txt", data)
    subset = msgspec.structs.replace(release.subset("few"), members=ref)

    with pytest.raises(IntegrityError, match="more lines"):
        find_members(msgspec.structs.replace(release, subsets=(subset,)), files, (), "few", ())


def test_shards_that_are_too_long_together_are_refused_unread(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = framed(files, 0, dict.fromkeys(NAMES, "old"))
    made = release_of(files, [(rows, 0)], rows)
    monkeypatch.setattr(members, "MAX_SHARD_BYTES", made.runs[0].index.size - 1)

    for packages, subset in (((NAMES[0],), None), ((), "all")):
        with pytest.raises(IntegrityError, match="together"):
            find_members(made, files, packages, subset, ())
    assert {path.rpartition("/")[2] for path, _ in files.asked} == {"tree.bin"}


def change_row(field_name: str, value: object) -> Callable[[MemberRow], MemberRow]:
    return lambda row: msgspec.structs.replace(row, **{field_name: value})


def change_frame(**fields: object) -> Callable[[MemberRow], MemberRow]:
    def changed(row: MemberRow) -> MemberRow:
        assert row.frame
        return msgspec.structs.replace(row, frame=msgspec.structs.replace(row.frame, **fields))

    return changed


@pytest.mark.parametrize(
    "change",
    [
        change_row("snapshot", SnapshotId(hex64("other"))),
        change_row("facts", hex64("other")),
        change_row("package", PackageName("hf:many/99")),
        change_row("manifest_size", canonical.MAX_DOCUMENT_BYTES + 1),
        change_row("placement_size", canonical.MAX_DOCUMENT_BYTES + 1),
        change_frame(file=1),
        change_frame(offset=1 << 40),
        change_frame(length=1 << 30),
    ],
)
@pytest.mark.parametrize("way", [(NAMES[0], None), ((), "all")])
def test_an_index_that_the_content_root_does_not_cover_is_refused(
    files: Files, change: Callable[[MemberRow], MemberRow], way: tuple[str, str | None]
) -> None:
    """Shards and tree are listed by an attacker: only the content root is known."""
    rows = framed(files, 0, dict.fromkeys(NAMES, "old"))
    lying = release_of(files, [([change(rows[0]), *rows[1:]], 0)], rows)

    with pytest.raises(IntegrityError):
        find_members(lying, files, (way[0],) if way[1] is None else (), way[1], ())


def test_members_that_are_left_out_of_the_index_are_missed(files: Files) -> None:
    rows = framed(files, 0, dict.fromkeys(NAMES, "old"))
    lying = release_of(files, [(rows[1:], 0)], rows)

    for packages, subset in (((NAMES[0],), None), ((), "all")):
        with pytest.raises(IntegrityError, match="other members"):
            find_members(lying, files, packages, subset, ())


@pytest.mark.parametrize("path", ["releases/r0/index/rows.bin", "releases/r1/index/tree.bin"])
def test_a_flipped_shard_or_tree_names_its_file(release: Release, files: Files, path: str) -> None:
    data = bytearray(files.files[path])
    data[-1] ^= 1
    files.files[path] = bytes(data)

    with pytest.raises(IntegrityError, match=path):
        find_members(release, files, (), "all", ())


def with_tree(files: Files, release: Release, change: Callable[[Tree], Tree]) -> Release:
    """The release with another tree, listed as a mirror could list it."""
    tree = change(decode_tree(files.files[release.tree.path], "tree"))
    ref = files.put("releases/r1/index/other.bin", encode_tree(tree.buckets, tree.runs))
    return msgspec.structs.replace(release, tree=ref)


def wider(tree: Tree) -> Tree:
    first = tree.runs[0]
    half = RunShards(lengths=(sum(first.lengths),), hashes=first.hashes[:1])
    return msgspec.structs.replace(tree, runs=(half, *tree.runs[1:]))


def longer(tree: Tree) -> Tree:
    first = tree.runs[0]
    more = msgspec.structs.replace(first, lengths=(first.lengths[0] + 1, *first.lengths[1:]))
    return msgspec.structs.replace(tree, runs=(more, *tree.runs[1:]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: msgspec.structs.replace(tree, buckets=tree.buckets[::-1]), "lists other members than release"),
        (lambda tree: msgspec.structs.replace(tree, runs=tree.runs[:1]), "lists other runs than release"),
        (wider, "lists other runs than release"),
        (longer, r"lists shards that `releases/r0/index/rows\.bin` cannot have"),
    ],
)
def test_a_tree_that_does_not_fit_the_release_is_refused_before_a_shard_is_read(
    release: Release, files: Files, change: Callable[[Tree], Tree], reason: str
) -> None:
    lying = with_tree(files, release, change)

    with pytest.raises(IntegrityError, match=rf"`releases/r1/index/other\.bin` {reason}"):
        find_members(lying, files, (), "all", ())
    assert [path.rpartition("/")[2] for path, _ in files.asked] == ["other.bin"]


def test_shards_longer_than_a_request_are_read_one_by_one(
    release: Release, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = find_members(release, files, (), "all", ())
    files.asked.clear()
    monkeypatch.setattr(index, "REQUEST_BYTES", 2)

    members = find_members(release, files, (), "all", ())

    assert list(members) == list(together)
    asked = [length for path, length in files.asked if path == release.runs[0].index.path]
    assert len(asked) == 2
    assert sum(asked) == release.runs[0].index.size


def test_near_names_of_a_large_release_are_those_of_the_shards_that_were_read(
    release: Release, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_SEARCHED_SHARDS", 2)

    with pytest.raises(NotFound) as caught:
        find_members(release, files, ("hf:many/4x",), None, ())

    shard = prefix_of(PackageName("hf:many/4x"), 1)
    near = [part for part in (caught.value.hint or "").split("`") if part.startswith("hf:")]
    assert near
    assert all(prefix_of(PackageName(name), 1) == shard or name in {NAMES[0], NAMES[1]} for name in near)
    assert [path.rpartition("/")[2] for path, _ in files.asked] == ["tree.bin", "rows.bin", "rows.bin"]
