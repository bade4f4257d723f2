from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import InfoHash, ObjectId, PackageName, PackId, ReleaseName, SnapshotId
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.placement import Location
from ptmtorrent.model.release import (
    MAX_SHARD_BITS,
    ContentRow,
    ContentShard,
    FileRef,
    PlacementRow,
    PlacementShard,
    Release,
    SubsetRef,
    Totals,
    VolumeRef,
    content_root,
    decode_release,
    placement_root,
    shard_bits_for,
    shard_of,
)
from ptmtorrent.model.subset import METADATA, POPULAR
from tests.model.generated import hex64, new_capture

GOLDEN = Path(__file__).parents[1] / "golden"
package_names = st.text("abc:/-é", min_size=1, max_size=20).map(PackageName)


def ref(path: str, size: int = 100) -> FileRef:
    return FileRef(path=path, size=size, blake3=hex64(path))


def subset(name: str, **fields: object) -> SubsetRef:
    known = {
        "query": POPULAR.query,
        "packages": 1,
        "files": 3,
        "bytes": 4000,
        "stored": 2500,
        "packs_bytes": 8 << 20,
        "content": (ref("index/content/000.json"),),
        "placement": (ref("index/placement/000.json"),),
        **fields,
    }
    return SubsetRef(name=name, **known)  # type: ignore[arg-type]  # fields are spelled by the test


def volume(**fields: object) -> VolumeRef:
    known = {
        "rights": "open",
        "level": 0,
        "packs": 2,
        "bytes": 8 << 20,
        "v1": InfoHash("ab" * 20),
        "v2": InfoHash("cd" * 32),
        "torrent_v1": ref(f"torrents/{'ab' * 20}.torrent"),
        "torrent_v2": ref(f"torrents/{'cd' * 32}.torrent"),
        **fields,
    }
    return VolumeRef(**known)  # type: ignore[arg-type]  # fields are spelled by the test


def rooted(**fields: object) -> Release:
    """A release whose roots follow from its lists, whatever they are."""
    known = {
        "name": ReleaseName("2026.11"),
        "sequence": 2,
        "previous": hex64("release 1"),
        "created": "2026-11-20T12:00:00Z",
        "written_by": "ptmtorrent 0.1.0",
        "shard_bits": 0,
        "content": (ref("index/content/000.json"),),
        "placement": (ref("index/placement/000.json"),),
        "tables": (ref("tables/packages.parquet"), ref("tables/files.parquet")),
        "subsets": (subset("metadata", query=METADATA.query, only=METADATA.only), subset("popular")),
        "volumes": (volume(),),
        "totals": Totals(packages=1, files=3, raw=4000, stored=2600, packs=2, packs_bytes=8 << 20),
        **fields,
    }
    roots = {
        "content_root": content_root(known["name"], known["content"], known["tables"], known["subsets"]),  # type: ignore[arg-type]  # as above
        "placement_root": placement_root(known["placement"], known["subsets"], known["volumes"]),  # type: ignore[arg-type]  # as above
    }
    return Release(format=Release.FORMAT, version=1, requires=(), **known, **roots)  # type: ignore[arg-type]  # as above


def content_shard() -> ContentShard:
    row = ContentRow(
        package=PackageName("hf:org/name"), snapshot=SnapshotId(hex64("s")), manifest_size=900, raw=4000, files=3
    )
    return ContentShard(format=ContentShard.FORMAT, version=1, requires=(), rows=(row,))


def placement_shard() -> PlacementShard:
    def place(offset: int, length: int) -> Location:
        return Location(pack=PackId(hex64("p")), pack_size=4 << 20, offset=offset, length=length, codec=2)

    row = PlacementRow(
        snapshot=SnapshotId(hex64("s")),
        manifest=place(1234, 400),
        placement=ObjectId(hex64("placement")),
        placement_size=300,
        placement_at=place(2000, 200),
    )
    return PlacementShard(format=PlacementShard.FORMAT, version=1, requires=(), rows=(row,))


def golden_capture() -> Capture:
    return new_capture(
        "hf:org/name",
        hex64("s"),
        listed="2026-11-20T11:00:00Z",
        licence="apache-2.0",
        downloads=123,
        likes=4,
        task="fill-mask",
        library="transformers",
        tags=("pytorch", "bert"),
        modified="2026-10-01T00:00:00.000Z",
    )


GOLDENS: list[tuple[str, canonical.Document]] = [
    ("release.json", rooted()),
    ("content-shard.json", content_shard()),
    ("placement-shard.json", placement_shard()),
    ("capture.json", golden_capture()),
]


@pytest.mark.parametrize(("name", "value"), GOLDENS)
def test_the_golden_file_is_what_we_write_and_read(name: str, value: canonical.Document) -> None:
    data = (GOLDEN / name).read_bytes()

    assert canonical.encode(value) == data
    assert canonical.decode(data, type(value), name=name) == value


def test_the_golden_content_root_never_changes() -> None:
    assert rooted().content_root == "720dd205ee0bb9ecd1266a09563daa25501de3943aefd78d11034b009177a2b8"


def test_the_golden_release_passes_its_own_checks() -> None:
    assert decode_release((GOLDEN / "release.json").read_bytes()) == rooted()


def test_where_bytes_lie_is_no_part_of_the_content_root() -> None:
    moved = rooted(
        placement=(ref("index/placement/000.json", size=7),), volumes=(), subsets=tuple(reversed(rooted().subsets))
    )

    assert moved.content_root == rooted().content_root
    assert moved.placement_root != rooted().placement_root


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ReleaseName("other")},
        {"content": (ref("index/content/000.json", size=99),)},
        {"tables": ()},
        {"subsets": (subset("popular"),)},
        {"subsets": (subset("metadata", query="other", only=METADATA.only), subset("popular"))},
        {"subsets": (subset("metadata", query=METADATA.query), subset("popular"))},
    ],
)
def test_what_a_release_is_decides_its_content_root(fields: dict[str, object]) -> None:
    assert rooted(**fields).content_root != rooted().content_root


@pytest.mark.parametrize(
    "fields",
    [
        {"content_root": hex64("x")},
        {"placement_root": hex64("x")},
        {"name": ReleaseName("2026.12")},
        {"content": (ref("index/content/000.json", size=1),)},
        {"placement": (ref("index/placement/000.json", size=1),)},
        {"volumes": ()},
        {"tables": ()},
    ],
)
def test_a_release_that_does_not_hash_to_its_roots_is_refused(fields: dict[str, object]) -> None:
    data = canonical.encode(msgspec.structs.replace(rooted(), **fields))

    with pytest.raises(IntegrityError):
        decode_release(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ReleaseName("../x")},
        {"tables": (ref("../x"),)},
        {"tables": (ref("/etc/passwd"),)},
        {"tables": (FileRef(path="t", size=1, blake3="xyz"),)},
        {"tables": (ref("t", size=-1),)},
        {"content": (ref("c", size=canonical.MAX_DOCUMENT_BYTES + 1),)},
        {"volumes": (volume(torrent_v1=ref("torrents/../../x")),)},
        {"shard_bits": 1},
        {"shard_bits": -1},
        {"shard_bits": MAX_SHARD_BITS + 1},
        {"content": ()},
        {"placement": (ref("a"), ref("b"))},
        {"subsets": (subset("popular", placement=()),)},
        {"subsets": (subset("../x"),)},
        {"subsets": (subset(""),)},
    ],
)
def test_a_release_that_lists_what_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        decode_release(canonical.encode(rooted(**fields)))


def test_a_volume_of_unknown_rights_is_refused() -> None:
    with pytest.raises(IntegrityError):
        decode_release(canonical.encode(rooted(volumes=(volume(rights="stolen"),))))


def test_an_unknown_subset_is_refused_naming_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        rooted().subset("populer")

    assert "`popular`" in (caught.value.hint or "")
    assert rooted().subset("popular").name == "popular"


@given(package_names, st.integers(0, MAX_SHARD_BITS))
def test_a_package_lies_in_one_of_the_shards_there_are(package: PackageName, bits: int) -> None:
    assert 0 <= shard_of(package, bits) < 1 << bits


@given(package_names, st.integers(0, MAX_SHARD_BITS - 1))
def test_one_more_bit_splits_a_shard_in_two(package: PackageName, bits: int) -> None:
    assert shard_of(package, bits + 1) >> 1 == shard_of(package, bits)


@pytest.mark.parametrize(
    ("packages", "bits"), [(0, 0), (1, 0), (256, 0), (257, 1), (512, 1), (16_000, 6), (280_000, 10), (10**9, 10)]
)
def test_a_release_is_sharded_by_its_size(packages: int, bits: int) -> None:
    assert shard_bits_for(packages) == bits
