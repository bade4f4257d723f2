"""Releases of one or two runs, built from their documentation, and the members that a reader finds in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.catalogue import index
from ptmtorrent.catalogue.index import describe_members, encode_documents, find_members
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.errors import IntegrityError, NoSource, NotFound, PtmError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, ReleaseName, SnapshotId
from ptmtorrent.model.manifest import encode_manifest
from ptmtorrent.model.members import (
    Frame,
    MemberRow,
    RunShards,
    Tree,
    decode_tree,
    encode_shard,
    encode_tree,
    members_root,
    prefix_of,
    spell_names,
)
from ptmtorrent.model.placement import Form, Location, encode_placement
from ptmtorrent.model.release import (
    FileRef,
    Member,
    Release,
    RunRef,
    SubsetRef,
    Totals,
    content_root,
    decode_release,
    placement_root,
)
from tests.model.generated import hash_members, hex64, manifest_of

BITS = 2
NAMES = [f"hf:many/{number:02}" for number in range(40)]


@dataclass
class Files:
    """The files of a channel, and the requests for them."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    location: str = "memory"

    def read(self, path: str, *, limit: int) -> bytes:
        data = self._find(path)
        self.asked.append((path, len(data)))
        assert len(data) <= limit
        return data

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        data = self._find(path)
        if offset + length > len(data):
            raise IntegrityError(f"`{path}` ends early")
        self.asked.append((path, length))
        return data[offset : offset + length]

    def _find(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFound(f"no `{path}`")
        return self.files[path]

    def put(self, path: str, data: bytes) -> FileRef:
        self.files[path] = data
        return FileRef(path=path, size=len(data), blake3=blake3(data).hexdigest())


def documents_of(name: str, text: str) -> tuple[MemberRow, bytes]:
    """A package of one file with `text`, and the frame of its documents."""
    manifest = manifest_of(name, [("config.json", text.encode())])
    data, snapshot = encode_manifest(manifest)
    at = Location(pack=hex64("pack"), pack_size=1 << 20, offset=0, length=len(text), codec=0)  # type: ignore[arg-type]
    placement = encode_placement(snapshot, [[Form(at=at)]])
    row = MemberRow(
        package=PackageName(name),
        snapshot=snapshot,
        facts=hex64(f"facts of {name} {text}"),
        manifest_size=len(data),
        placement_size=len(placement),
        files=1,
        raw=len(text),
        frame=None,
    )
    return row, encode_documents(data, placement)


def removal(name: str) -> MemberRow:
    return MemberRow(
        package=PackageName(name),
        snapshot=SnapshotId("0" * 64),
        facts="0" * 64,
        manifest_size=0,
        placement_size=0,
        files=0,
        raw=0,
        frame=None,
    )


def put_run(files: Files, number: int, rows: Sequence[MemberRow], bits: int) -> tuple[RunRef, RunShards]:
    shards = [
        encode_shard([row for row in rows if prefix_of(row.package, bits) == shard]) for shard in range(1 << bits)
    ]
    documents = FileRef(path=f"releases/r{number}/index/documents.bin", size=0, blake3="0" * 64)
    ref = RunRef(
        level=0,
        bits=bits,
        rows=len(rows),
        index=files.put(f"releases/r{number}/index/rows.bin", b"".join(shards)),
        documents=(msgspec.structs.replace(documents, size=len(files.files[documents.path])),),
    )
    hashes = tuple(blake3(shard).hexdigest() for shard in shards)
    return ref, RunShards(lengths=tuple(map(len, shards)), hashes=hashes)


def framed(files: Files, number: int, packages: dict[str, str]) -> list[MemberRow]:
    """Write the documents of `packages`, text by name; return their rows."""
    rows, frames = [], bytearray()
    for name, text in packages.items():
        row, frame = documents_of(name, text)
        place = Frame(file=0, offset=len(frames), length=len(frame), blake3=blake3(frame).hexdigest())
        rows.append(msgspec.structs.replace(row, frame=place))
        frames += frame
    files.put(f"releases/r{number}/index/documents.bin", bytes(frames))
    return rows


def release_of(files: Files, runs: Sequence[tuple[Sequence[MemberRow], int]], members: Sequence[MemberRow]) -> Release:
    put = [put_run(files, number, rows, bits) for number, (rows, bits) in enumerate(runs)]
    buckets = hash_members(members, BITS)
    tree = files.put("releases/r1/index/tree.bin", encode_tree(buckets, [shards for _, shards in put]))
    refs = tuple(ref for ref, _ in put)
    names = files.put("releases/r1/subsets/few.txt", spell_names([PackageName(name) for name in NAMES[:3]]))
    counts = {"packages": 1, "files": 1, "bytes": 1, "stored": 1, "packs_bytes": 1}
    subsets = (
        SubsetRef(name="all", query="all", **counts),
        SubsetRef(name="few", query="few", members=names, only=("config",), **counts),
    )
    name, root = ReleaseName("r1"), members_root(buckets)
    made = Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=name,
        sequence=2,
        created="2026-11-20T12:00:00Z",
        written_by="test",
        content_root=content_root(name, root, subsets),
        placement_root=placement_root(refs, tree, (), ()),
        members_root=root,
        runs=refs,
        tree=tree,
        tables=(),
        subsets=subsets,
        volumes=(),
        totals=Totals(packages=1, files=1, raw=1, stored=1, packs=0, packs_bytes=0),
    )
    return decode_release(canonical.encode(made))


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def release(files: Files) -> Release:
    """Forty packages; the second run changes 00, removes 01 and adds one."""
    first = framed(files, 0, dict.fromkeys(NAMES, "old"))
    second = framed(files, 1, {NAMES[0]: "new", "hf:one/more": "new"})
    members = {row.package: row for row in (*first, *second) if row.package != NAMES[1]}
    NAMES_LEFT[:] = sorted(members)
    return release_of(files, [(first, 1), ([*second, removal(NAMES[1])], 0)], list(members.values()))


NAMES_LEFT: list[str] = []


def texts_of(members: Sequence[Member], files: Files) -> dict[str, int]:
    found = list(describe_members(members, files))
    assert not [each.error for each in found if each.error]
    return {each.member.package: each.manifest.size for each in found if each.manifest}


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


def test_documents_beside_each_other_are_read_with_one_request(release: Release, files: Files) -> None:
    members = find_members(release, files, (), "all", ())
    files.asked.clear()

    texts_of(members, files)

    assert len(files.asked) == 2  # one for each file of documents


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
    monkeypatch.setattr(index, "MAX_SHARD_BYTES", made.runs[0].index.size - 1)

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


def test_the_successor_of_a_release_sees_every_row_and_the_newest_of_each(release: Release, files: Files) -> None:
    runs = EarlierRuns(release, files)

    assert dict(runs.members()).keys() == set(NAMES_LEFT)
    assert list(runs.removed_in([0, 1])) == list(runs.removed_in([1])) == [NAMES[1]]
    assert list(runs.removed_in([0])) == []
    assert [runs.is_member(PackageName(name)) for name in (NAMES[0], NAMES[1], "hf:none/x")] == [True, False, False]
    assert [[runs.has(run, PackageName(NAMES[number])) for number in (0, 1, 2)] for run in range(2)] == [
        [True, True, True],
        [True, True, False],
    ]
    assert len(list(runs.rows_of(0))) == 40
    assert all(runs.row(place) == row for run in range(2) for place, row in runs.rows_of(run))
    assert runs.newest_counts([]) == [38, 3]
    assert runs.newest_counts([PackageName(name) for name in (NAMES[0], NAMES[5], "hf:none/x")]) == [37, 2]


@pytest.mark.parametrize("bits", [0, 1, BITS, BITS + 1])
def test_buckets_that_are_hashed_on_top_of_earlier_ones_are_those_of_all_members(
    release: Release, files: Files, bits: int
) -> None:
    runs = EarlierRuns(release, files)
    fresh = {name: documents_of(name, "fresh")[0] for name in (NAMES[4], "hf:two/more")}
    gone = {PackageName(NAMES[7])}
    kept = [runs.row(place) for name, place in runs.members() if name not in {*fresh, *gone}]

    hashed = runs.hash_buckets(bits, {PackageName(name): row for name, row in fresh.items()}, gone)

    assert hashed == hash_members([*kept, *fresh.values()], bits)
    assert runs.hash_buckets(bits, {}, ()) == hash_members([runs.row(place) for _, place in runs.members()], bits)


@pytest.mark.parametrize("frame", [None, Frame(file=1, offset=0, length=1, blake3="0" * 64)])
def test_documents_in_a_file_that_the_run_does_not_list_are_refused(
    release: Release, files: Files, frame: Frame | None
) -> None:
    runs = EarlierRuns(release, files)
    row = msgspec.structs.replace(runs.row(runs.newest[PackageName(NAMES[2])]), frame=frame)

    with pytest.raises(
        IntegrityError, match=r"`releases/r0/index/rows\.bin` states an implausible place for `hf:many/02`"
    ):
        runs.documents(0, row)
    assert runs.documents(0, runs.row(runs.newest[PackageName(NAMES[2])])) == release.runs[0].documents[0]


def test_no_release_has_no_earlier_runs(files: Files) -> None:
    runs = EarlierRuns(None, files)
    row, _ = documents_of(NAMES[0], "new")

    assert (list(runs.members()), runs.newest_counts([PackageName(NAMES[0])])) == ([], [])
    assert runs.hash_buckets(1, {row.package: row}, ()) == hash_members([row], 1)
    assert files.asked == []
