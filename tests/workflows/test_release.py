import shutil
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pytest
from blake3 import blake3

from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.catalogue.query import list_packages
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import ConfigError, NotFound, StoreError, UsageError
from ptmtorrent.model.ids import ObjectId, PackId, ReleaseName, object_id
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.members import decode_shard, decode_tree, prefix_of
from ptmtorrent.model.placement import Location
from ptmtorrent.model.records import Note, Progress, Result, Summary, ignore
from ptmtorrent.model.release import FileRef, Release
from ptmtorrent.model.subset import SubsetRule
from ptmtorrent.model.torrents import packs_in
from ptmtorrent.paths import Home
from ptmtorrent.store import codecs
from ptmtorrent.store.store import Store
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys, init_keys, load_keys
from ptmtorrent.trust.own import read_published
from ptmtorrent.workflows.release import index
from ptmtorrent.workflows.release.policy import read_policy
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import Listener, TickingClock, capture, capture_three, new_home, policy_file, writing
from tests.workflows.three_captured import FIRST, SECOND, made, run, scratch

__all__ = ["made", "scratch"]


def read_file(home: Home, ref: FileRef) -> bytes:
    data = (home.channel / ref.path).read_bytes()
    assert (len(data), blake3(data).hexdigest()) == (ref.size, ref.blake3)
    return data


def describe(home: Home, result: Release, subset: str = "all") -> list[Described]:
    reader = OwnReader(home.channel)
    found = list(describe_members(find_members(result, reader, (), subset, ()), reader))
    assert not [each for each in found if each.error]
    return sorted(found, key=lambda each: each.member.package)


def names_of(home: Home, result: Release, subset: str) -> list[str]:
    members = find_members(result, OwnReader(home.channel), (), subset, ())
    return sorted(member.package for member in members)


def packs_of(home: Home, result: Release) -> dict[PackId, int]:
    return {
        pack: size
        for volume in result.volumes
        for pack, size in packs_in((home.channel / volume.torrent_v1.path).read_bytes(), name="t")
    }


def read_object(home: Home, place: Location, identifier: str, size: int) -> bytes:
    payload = (home.channel / pack_path(place.pack)).read_bytes()[place.offset : place.offset + place.length]
    data = codecs.decode(place.codec, payload, size)
    assert object_id(data) == identifier
    return data


def test_every_file_of_every_package_can_be_read_from_the_channel_alone(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, manifests = made

    result = run(home, keys)

    shutil.rmtree(home.store)
    found = describe(home, result)
    assert [each.member.package for each in found] == sorted(manifests)
    for each in found:
        assert each.manifest
        assert each.placement
        for file in each.manifest.files:
            parts = [
                read_object(home, each.placement.form(row).at, *each.manifest.objects[row])
                for row in each.manifest.objects_of(file.recipe)
            ]
            assert sha256(b"".join(parts)).hexdigest() == file.sha256


def test_packs_of_the_volumes_are_named_by_their_hash(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    packs = packs_of(home, run(home, keys))

    for pack, size in packs.items():
        data = (home.channel / pack_path(pack)).read_bytes()
        assert (len(data), blake3(data).hexdigest()) == (size, pack)


def test_manifests_and_placements_lie_where_the_rows_say(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, manifests = made

    result = run(home, keys)

    with Store.open(home.store) as store:
        for each in describe(home, result):
            row, manifest, placement = each.member.row, each.manifest, each.placement
            assert (
                manifest == manifests[row.package] == decode_manifest(store.read(ObjectId(row.snapshot)), row.snapshot)
            )
            assert (row.raw, row.files) == (manifest.size, len(manifest.files))
            assert placement
            assert [placement.form(number).at for number in range(len(manifest.objects))] == [
                store.location(identifier) for identifier, _ in manifest.objects
            ]


def test_subsets_hold_their_members_and_count_what_a_fetch_lays_out(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, _ = made

    result = run(home, keys)

    assert [(item.name, item.packages, item.files, item.bytes) for item in result.subsets] == [
        ("all", 3, 6, 5000 + 2 * 21 + 7 + 256 * 40),
        ("metadata", 3, 4, 2 * 21 + 7),
        ("popular", 2, 3, 5000 + 21 + 256 * 40),
    ]
    assert names_of(home, result, "popular") == ["hf:a/popular", "onnx:vision/x"]


def test_a_subset_of_every_package_is_the_index_itself(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    result = run(home, keys)

    assert result.subset("all").members is result.subset("metadata").members is None
    assert names_of(home, result, "all") == names_of(home, result, "metadata")
    assert [path.name for path in (home.channel / "releases" / FIRST / "subsets").iterdir()] == ["popular.txt"]


def test_read_amplification_follows_from_the_stored_bytes_and_the_packs(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, _ = made

    result = run(home, keys)

    packs = packs_of(home, result)
    whole, metadata = result.subset("all"), result.subset("metadata")
    assert result.totals.packs_bytes == sum(packs.values())
    assert result.totals.packs == len(packs)
    assert metadata.stored < whole.stored < result.totals.stored < result.totals.packs_bytes
    assert metadata.packs_bytes < whole.packs_bytes == result.totals.packs_bytes


def test_tables_are_listed_with_their_hashes(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, manifests = made

    result = run(home, keys)

    assert [(table.name, [ref.path for ref in table.files]) for table in result.tables] == [
        (name, [f"releases/{FIRST}/tables/{name}.parquet"]) for name in ("packages", "files")
    ]
    assert all(read_file(home, ref) for table in result.tables for ref in table.files)
    table = home.channel / "releases" / FIRST / "tables/packages.parquet"
    assert [facts.package for facts in list_packages(table)] == sorted(manifests)


def test_packs_in_the_channel_are_links_into_the_store(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    result = run(home, keys)

    for pack in packs_of(home, result):
        assert (home.channel / pack_path(pack)).samefile(home.store / pack_path(pack))


def test_the_release_is_signed_and_its_own_root_checks(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    result = run(home, keys)

    listed = listed_releases(read_published(home.channel, keys).targets)
    assert (listed[FIRST].sequence, listed[FIRST].content_root) == (1, result.content_root)
    assert (home.channel / "releases" / FIRST / "release.json.minisig").is_file()


def test_a_second_release_without_changes_adds_no_pack_and_keeps_every_torrent(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, _ = made
    first = run(home, keys)
    packs = sorted(path.name for path in home.store.rglob("*.pack"))

    second = run(home, keys, SECOND)

    assert sorted(path.name for path in home.store.rglob("*.pack")) == packs
    assert not list((home.store / "open").glob("*.part"))
    assert second.volumes == first.volumes
    assert [ref.blake3 for ref in second.listed] == [ref.blake3 for ref in first.listed]
    assert second.members_root == first.members_root


def test_releases_are_chained_by_sequence_and_hash(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    first = run(home, keys)

    second = run(home, keys, SECOND)

    data = (home.channel / "releases" / FIRST / "release.json").read_bytes()
    assert (first.sequence, first.previous) == (1, None)
    assert (second.sequence, second.previous) == (2, blake3(data).hexdigest())


def test_a_changed_package_adds_packs_and_leaves_the_old_volume_alone(
    made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path
) -> None:
    home, keys, _ = made
    first = run(home, keys)
    with writing(home) as store:
        files = {"model.safetensors": b"new" * 3000}
        capture(store, scratch, "hf:a/popular", files, downloads=1, captured="2026-11-21T12:00:00Z")

    second = run(home, keys, SECOND)

    assert {volume.v1 for volume in first.volumes} < {volume.v1 for volume in second.volumes}
    assert set(packs_of(home, first)) < set(packs_of(home, second))
    assert second.subset("popular").packages == 1
    assert second.content_root != first.content_root


def test_the_same_store_gives_the_same_content_root_in_another_home(tmp_path: Path, scratch: Path) -> None:
    roots = []
    for name in ("one", "two"):
        home, keys = new_home(tmp_path / name)
        capture_three(home, scratch)
        roots.append(run(home, keys).content_root)

    assert roots[0] == roots[1]


def lose_weights(store: Store) -> None:
    """Remove the packs of weights that are sealed now, as a failing disk would."""
    for path in map(store.pack_file, store.seal()):
        if b'"class":"weights' in path.read_bytes()[:200]:
            path.unlink()


def test_a_package_whose_pack_is_gone_is_left_out_and_named(
    made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path
) -> None:
    home, keys, _ = made
    with writing(home) as store:
        store.seal()
        capture(store, scratch, "hf:z/late", {"model.safetensors": b"late" * 2000})
        lose_weights(store)
    heard = Listener()

    result = release(FIRST, home, keys, clock=TickingClock(), emit=heard)

    assert result.totals.packages == 3
    assert [(event.id, event.status) for event in heard.of(Result)] == [("hf:z/late", "error"), (FIRST, "ok")]
    assert [event.failed for event in heard.of(Summary)] == [1]


def test_a_gated_package_is_never_released(made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path) -> None:
    home, keys, _ = made
    with writing(home) as store:
        capture(store, scratch, "hf:z/gated", {"secret.safetensors": b"secret" * 1000}, rights="gated")
    heard = Listener()

    result = release(FIRST, home, keys, clock=TickingClock(), emit=heard)

    assert ("hf:z/gated", "impossible") in [(event.id, event.status) for event in heard.of(Result)]
    assert {volume.rights for volume in result.volumes} == {"open"}
    assert b"secret" * 1000 not in b"".join(path.read_bytes() for path in home.channel.rglob("*.pack"))


def test_when_no_package_is_complete_nothing_is_released(tmp_path: Path, scratch: Path) -> None:
    home, keys = new_home(tmp_path / "home")
    with writing(home) as store:
        capture(store, scratch, "hf:a/b", {"model.safetensors": b"w" * 9000})
        lose_weights(store)

    with pytest.raises(StoreError, match="none of the 1"):
        run(home, keys)

    assert not (home.channel / "metadata").exists()


def test_progress_counts_packages_and_the_summary_comes_last(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    heard = Listener()

    result = release(FIRST, home, keys, clock=TickingClock(), emit=heard)

    assert [event.packages for event in heard.of(Progress)][-1] == 3
    assert heard.events[-1] == heard.of(Summary)[0]
    assert heard.of(Summary)[0].bytes == result.totals.raw


@pytest.mark.parametrize("captured", [True, False])
def test_without_captures_the_user_is_told_to_clone(tmp_path: Path, captured: bool) -> None:
    home, keys = new_home(tmp_path / "home")
    if captured:
        Store.open(home.store, write=True).close()

    with pytest.raises(NotFound) as caught:
        run(home, keys)

    assert "clone" in (caught.value.hint or "")


def test_a_name_that_is_taken_is_refused_once_the_store_has_changed(
    made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path
) -> None:
    home, keys, _ = made
    run(home, keys)
    with writing(home) as store:
        capture(store, scratch, "hf:new/one", {"config.json": b"{}"})
    before = (home.channel / "metadata" / "timestamp.json").read_bytes()

    with pytest.raises(UsageError, match="never change"):
        run(home, keys)

    assert (home.channel / "metadata" / "timestamp.json").read_bytes() == before


def test_a_finished_release_run_again_says_so_and_writes_nothing(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, _ = made
    first = run(home, keys)
    before = {path: path.stat().st_mtime_ns for path in home.channel.rglob("*")}
    heard = Listener()

    assert release(FIRST, home, keys, clock=TickingClock(), emit=heard) == first

    assert {path: path.stat().st_mtime_ns for path in home.channel.rglob("*")} == before
    assert "the store has not changed since" in heard.of(Note)[-1].message
    [result] = heard.of(Result)
    assert (result.kind, result.id, result.status) == ("release", FIRST, "notneeded")
    assert heard.of(Summary)[-1].failed == 0


def test_a_finished_release_run_again_with_another_selection_is_refused(
    made: tuple[Home, Keys, dict[str, Manifest]],
) -> None:
    home, keys, _ = made
    run(home, keys)
    file = policy_file("[exclude]\n'hf:b/quiet' = 'asked'\n", home.root)

    with pytest.raises(UsageError, match="never change"):
        release(FIRST, home, keys, clock=TickingClock(), emit=ignore, policy=read_policy(file))


def test_a_name_that_cannot_be_a_folder_is_refused(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    with pytest.raises(UsageError):
        run(home, keys, ReleaseName("../x"))

    assert not home.channel.exists()


def test_other_keys_than_the_channels_are_refused(made: tuple[Home, Keys, dict[str, Manifest]], tmp_path: Path) -> None:
    home, keys, _ = made
    run(home, keys)
    init_keys(tmp_path / "others", None)

    with pytest.raises(ConfigError):
        run(home, load_keys(tmp_path / "others", lambda: None), SECOND)


def test_many_packages_are_sharded_and_every_shard_is_sorted(
    made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keys, _ = made
    monkeypatch.setattr(index, "shard_bits_for", lambda _: 2)
    monkeypatch.setattr(index, "bucket_bits_for", lambda _: 3)
    with writing(home) as store:
        for number in range(12):
            capture(store, scratch, f"hf:many/{number:02}", {"config.json": b"{}"}, downloads=1)

    result = run(home, keys)

    [run_] = result.runs
    assert (run_.bits, run_.rows) == (2, 15)
    tree = decode_tree(read_file(home, result.tree), "tree")
    data = read_file(home, run_.index)
    found = []
    for number, (start, size) in enumerate(
        zip(accumulate(tree.runs[0].lengths, initial=0), tree.runs[0].lengths, strict=False)
    ):
        names = [row.package for row in decode_shard(data[start : start + size], "shard")]
        assert names == sorted(names)
        assert {prefix_of(name, 2) for name in names} <= {number}
        found += names
    assert len(found) == 15
    assert [each.member.package for each in describe(home, result)] == sorted(found)


def test_popular_packages_come_first_in_the_documents_of_a_shard(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    result = run(home, keys)

    members = find_members(result, OwnReader(home.channel), (), "all", ())
    ends = [(member.row.frame.offset, member.row.frame.length) for member in members if member.row.frame]
    assert [member.package for member in members] == ["hf:a/popular", "onnx:vision/x", "hf:b/quiet"]
    assert [start for start, _ in ends] == [0, *accumulate(size for _, size in ends)][:-1]


def test_a_subset_without_members_is_an_empty_one(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    nobody = SubsetRule(name="none", query="no package", takes=lambda _: False)

    result = release(FIRST, home, keys, clock=TickingClock(), emit=ignore, rules=[nobody])

    nothing = result.subset("none")
    assert names_of(home, result, "none") == []
    assert (nothing.packages, nothing.stored, nothing.packs_bytes) == (0, 0, 0)
