import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from blake3 import blake3

from ptmtorrent.catalogue.query import list_packages
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import ConfigError, NotFound, StoreError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, ReleaseName, object_id
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.placement import Location, decode_placement
from ptmtorrent.model.records import Note, Progress, Result, Summary, ignore
from ptmtorrent.model.release import ContentShard, FileRef, PlacementShard, Release
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

FIRST = ReleaseName("2026.11")
SECOND = ReleaseName("2026.12")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def made(tmp_path: Path, scratch: Path) -> tuple[Home, Keys, dict[str, Manifest]]:
    home, keys = new_home(tmp_path / "home")
    return home, keys, capture_three(home, scratch)


def run(home: Home, keys: Keys, name: ReleaseName = FIRST) -> Release:
    return release(name, home, keys, clock=TickingClock(), emit=ignore)


def read_file(home: Home, name: ReleaseName, ref: FileRef) -> bytes:
    data = (home.channel / "releases" / name / ref.path).read_bytes()
    assert (len(data), blake3(data).hexdigest()) == (ref.size, ref.blake3)
    return data


def read_rows(home: Home, result: Release, content: FileRef, placement: FileRef) -> tuple[ContentShard, PlacementShard]:
    return (
        canonical.decode(read_file(home, result.name, content), ContentShard, name=content.path),
        canonical.decode(read_file(home, result.name, placement), PlacementShard, name=placement.path),
    )


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
    contents, placements = read_rows(home, result, result.content[0], result.placement[0])
    assert [row.package for row in contents.rows] == sorted(manifests)
    for content, where in zip(contents.rows, placements.rows, strict=True):
        manifest = decode_manifest(
            read_object(home, where.manifest, content.snapshot, content.manifest_size), content.snapshot
        )
        placed = read_object(home, where.placement_at, where.placement, where.placement_size)
        placement = decode_placement(placed, manifest, content.snapshot)
        for file in manifest.files:
            rows = manifest.objects_of(file.recipe)
            parts = [
                read_object(home, placement.location(placement.objects[row]), *manifest.objects[row]) for row in rows
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

    contents, placements = read_rows(home, result, result.content[0], result.placement[0])
    with Store.open(home.store) as store:
        for content, where in zip(contents.rows, placements.rows, strict=True):
            manifest = decode_manifest(store.read(ObjectId(content.snapshot)), content.snapshot)
            placement = decode_placement(store.read(where.placement), manifest, content.snapshot)
            assert manifest == manifests[content.package]
            assert content.raw == manifest.size
            assert where.manifest == store.location(ObjectId(content.snapshot))
            assert where.placement_at == store.location(where.placement)
            assert [placement.location(spot) for spot in placement.objects] == [
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
    popular = result.subset("popular")
    contents, _ = read_rows(home, result, popular.content[0], popular.placement[0])
    assert [row.package for row in contents.rows] == ["hf:a/popular", "onnx:vision/x"]


def test_a_subset_of_every_package_is_the_index_itself(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made

    result = run(home, keys)

    assert result.subset("all").content == result.subset("metadata").content == result.content
    assert sorted(path.name for path in (home.channel / "releases" / FIRST / "subsets").iterdir()) == [
        "popular.content.json",
        "popular.placement.json",
    ]


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

    assert [ref.path for ref in result.tables] == ["tables/packages.parquet", "tables/files.parquet"]
    assert all(read_file(home, FIRST, ref) for ref in result.tables)
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
    assert [ref.blake3 for ref in second.content + second.placement + second.tables] == [
        ref.blake3 for ref in first.content + first.placement + first.tables
    ]


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
    with writing(home) as store:
        for number in range(12):
            capture(store, scratch, f"hf:many/{number:02}", {"config.json": b"{}"}, downloads=1)

    result = run(home, keys)

    found = []
    assert (len(result.content), result.content[3].path) == (4, "index/content/003.json")
    for content, placement in zip(result.content, result.placement, strict=True):
        contents, placements = read_rows(home, result, content, placement)
        names = [row.package for row in contents.rows]
        assert names == sorted(names)
        assert [row.snapshot for row in contents.rows] == [row.snapshot for row in placements.rows]
        found += names
    assert len(found) == 15


def test_a_long_subset_is_split_into_files_in_pairs(
    made: tuple[Home, Keys, dict[str, Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keys, _ = made
    monkeypatch.setattr(index, "SUBSET_FILE_ROWS", 1)

    popular = run(home, keys).subset("popular")

    assert [ref.path for ref in popular.content] == ["subsets/popular.content.json", "subsets/popular.001.content.json"]
    assert len(popular.placement) == 2


def test_a_subset_without_members_is_an_empty_one(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    nobody = SubsetRule(name="none", query="no package", takes=lambda _: False)

    result = release(FIRST, home, keys, clock=TickingClock(), emit=ignore, rules=[nobody])

    nothing = result.subset("none")
    contents, _ = read_rows(home, result, nothing.content[0], nothing.placement[0])
    assert (contents.rows, nothing.packages, nothing.stored, nothing.packs_bytes) == ((), 0, 0, 0)
