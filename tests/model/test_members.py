import struct
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.ids import PackageName, SnapshotId
from ptmtorrent.model.members import (
    MAX_BUCKET_BITS,
    MAX_SHARD_BITS,
    Frame,
    MemberRow,
    RunShards,
    bucket_bits_for,
    decode_columns,
    decode_shard,
    decode_tree,
    encode_shard,
    encode_tree,
    members_root,
    parse_names,
    prefix_of,
    removal,
    shard_bits_for,
    spell_names,
)
from tests.model.generated import hash_members, hashes, hex64

GOLDEN = Path(__file__).parents[1] / "golden"
package_names = st.text("abc:/-é", min_size=1, max_size=20).map(PackageName)


def row(name: str = "hf:org/name", **fields: object) -> MemberRow:
    known = {
        "package": PackageName(name),
        "snapshot": SnapshotId(hex64(name)),
        "facts": hex64(f"facts of {name}"),
        "manifest_size": 900,
        "placement_size": 300,
        "files": 3,
        "raw": 4000,
        "frame": Frame(file=0, offset=1234, length=700, blake3=hex64(f"frame of {name}")),
        **fields,
    }
    return MemberRow(**known)  # type: ignore[arg-type]  # fields are spelled by the test


ROWS = [row(), row("hf:org/gone", frame=None, manifest_size=0, placement_size=0, files=0, raw=0), row("onnx:é")]
BUCKETS = hash_members([each for each in ROWS if each.frame], 1)
RUN = RunShards(lengths=(500, 600), hashes=(hex64("0"), hex64("1")))


@st.composite
def rows(draw: st.DrawFn) -> MemberRow:
    size = st.integers(0, 2**32 - 1)
    frame = Frame(
        file=draw(st.integers(0, 2**16 - 1)),
        offset=draw(st.integers(0, 2**64 - 1)),
        length=draw(size),
        blake3=draw(hashes),
    )
    return row(
        draw(package_names),
        snapshot=draw(hashes),
        facts=draw(hashes),
        manifest_size=draw(size),
        placement_size=draw(size),
        files=draw(size),
        raw=draw(st.integers(0, 2**64 - 1)),
        frame=draw(st.sampled_from((frame, None))),
    )


def unique(found: list[MemberRow]) -> list[MemberRow]:
    return list({each.package: each for each in found}.values())


def test_the_golden_shard_is_what_we_write_and_read() -> None:
    data = (GOLDEN / "index-shard.bin").read_bytes()

    assert encode_shard(ROWS) == data
    assert decode_shard(data, "x") == sorted(ROWS, key=lambda each: each.package.encode())


def test_the_golden_tree_is_what_we_write_and_read() -> None:
    data = (GOLDEN / "index-tree.bin").read_bytes()

    assert encode_tree(BUCKETS, [RUN]) == data
    read = decode_tree(data, "x")
    assert (read.bucket_bits, read.buckets, read.runs) == (1, BUCKETS, (RUN,))


def test_the_golden_root_of_members_never_changes() -> None:
    assert members_root(BUCKETS) == "f8006aea27b66b3dbc76d8b7553f72362fe9d2ff1b092277ad5a6daf26dce2d4"


def test_a_bucket_hashes_names_snapshots_and_facts_as_the_page_says() -> None:
    members = [each for each in ROWS if each.frame]
    texts = [
        struct.pack("<H", len(each.package.encode()))
        + each.package.encode()
        + bytes.fromhex(each.snapshot)
        + bytes.fromhex(each.facts)
        for each in sorted(members, key=lambda each: each.package.encode())
    ]

    assert hash_members(members, 0) == (blake3(b"".join(texts)).digest(),)


@settings(max_examples=60)
@given(st.lists(rows(), max_size=8).map(unique))
def test_every_row_comes_back(found: list[MemberRow]) -> None:
    assert decode_shard(encode_shard(found), "x") == sorted(found, key=lambda each: each.package.encode())


@settings(max_examples=60)
@given(st.lists(rows(), max_size=8).map(unique), st.integers(0, 3), st.randoms())
def test_the_root_depends_on_members_alone(found: list[MemberRow], bits: int, random: object) -> None:
    moved = [
        msgspec.structs.replace(each, frame=None, placement_size=0, manifest_size=1, raw=2, files=3) for each in found
    ]
    random.shuffle(moved)  # type: ignore[attr-defined]  # a Random

    assert hash_members(moved, bits) == hash_members(found, bits)


@pytest.mark.parametrize("field", ["package", "snapshot", "facts"])
def test_what_a_member_is_decides_the_root(field: str) -> None:
    other = [msgspec.structs.replace(ROWS[0], **{field: hex64("other")}), ROWS[2]]

    assert members_root(hash_members(other, 1)) != members_root(BUCKETS)


@pytest.mark.parametrize("size", range(0, len(encode_shard(ROWS)), 31))
def test_a_shard_that_ends_early_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError):
        decode_shard(encode_shard(ROWS)[:size], "x")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"PTMSHARD", b"PTMSHARE"),
        (b'"rows":3', b'"rows":4'),
        (b'"rows":3', b'"rows":-'),
        (b'"names":29', b'"names":28'),
        (b"hf:org/name", b"hf:org/gone"),
        (b"hf:org/name", b"hf:org/aaaa"),
        (b"\x00\x01\x01", b"\x00\x02\x01"),
        (b"hf:org/name", b"hf:org/\xff\xff\xff\xff"),
    ],
)
def test_a_shard_that_lies_is_refused(old: bytes, new: bytes) -> None:
    data = encode_shard(ROWS)
    assert old in data

    with pytest.raises(IntegrityError):
        decode_shard(data.replace(old, new), "x")


@pytest.mark.parametrize("data", [encode_shard(ROWS), encode_tree(BUCKETS, [RUN])])
def test_a_part_of_a_later_version_is_refused_as_such(data: bytes) -> None:
    read = decode_shard if data.startswith(b"PTMSHARD") else decode_tree

    for old, new in ((b'"version":1', b'"version":2'), (b'"requires":[]', b'"requires":["lens"]')):
        size = int.from_bytes(data[8:12], "little") + len(new) - len(old)
        changed = data[:8] + size.to_bytes(4, "little") + data[12:].replace(old, new)
        with pytest.raises(UnsupportedFormat):
            read(changed, "x")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"bucket_bits":1', b'"bucket_bits":0'),
        (b'"bucket_bits":1', b'"bucket_bits":2'),
        (b'"bucket_bits":1', b'"bucket_bits":9'),
        (b'"run_bits":[1]', b'"run_bits":[0]'),
        (b'"run_bits":[1]', b'"run_bits":[9]'),
    ],
)
def test_a_tree_that_lies_is_refused(old: bytes, new: bytes) -> None:
    data = encode_tree(BUCKETS, [RUN])
    assert old in data

    with pytest.raises(IntegrityError):
        decode_tree(data.replace(old, new), "x")


@given(package_names, st.integers(0, MAX_BUCKET_BITS))
def test_a_package_lies_in_one_of_the_shards_there_are(package: PackageName, bits: int) -> None:
    assert 0 <= prefix_of(package, bits) < 1 << bits


@given(package_names, st.integers(0, MAX_BUCKET_BITS - 1))
def test_one_more_bit_splits_a_shard_in_two(package: PackageName, bits: int) -> None:
    assert prefix_of(package, bits + 1) >> 1 == prefix_of(package, bits)


@pytest.mark.parametrize(
    ("packages", "bits"), [(0, 0), (1, 0), (256, 0), (257, 1), (512, 1), (16_000, 6), (280_000, 10), (10**9, 10)]
)
def test_a_release_is_sharded_by_its_size(packages: int, bits: int) -> None:
    assert shard_bits_for(packages) == bits


@pytest.mark.parametrize(("packages", "bits"), [(0, 0), (1, 0), (64, 0), (65, 1), (280_000, 12), (10**9, 12)])
def test_a_bucket_lies_within_one_shard(packages: int, bits: int) -> None:
    assert bucket_bits_for(packages) == bits
    assert shard_bits_for(packages) <= min(bits, MAX_SHARD_BITS)


@given(st.lists(package_names, unique=True, max_size=9))
def test_the_names_of_a_subset_come_back_in_order(names: list[PackageName]) -> None:
    assert parse_names(spell_names(names), "x") == sorted(names, key=str.encode)


@pytest.mark.parametrize("data", [b"a", b"b\na\n", b"a\na\n", b"\xff\n", b"a\r\n", b"a\n\nb"])
def test_names_that_are_not_in_order_or_not_lines_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_names(data, "x")


@pytest.mark.parametrize("lengths", [(12, 10, 8), (11, 11, 6), (0, 22, 7), (4097, 11, 7)])
def test_a_shard_whose_names_have_other_lengths_is_refused(lengths: tuple[int, ...]) -> None:
    data = encode_shard(ROWS)
    assert (places := data.count(struct.pack("<3H", 11, 11, 7))) == 1, places

    with pytest.raises(IntegrityError, match="`x` has names of other lengths than it says"):
        decode_shard(data.replace(struct.pack("<3H", 11, 11, 7), struct.pack("<3H", *lengths)), "x")


def test_a_removal_is_a_row_of_no_member() -> None:
    gone = removal(PackageName("hf:org/gone"))

    columns = decode_columns(encode_shard([ROWS[0], gone]), "x")

    assert columns.names == ("hf:org/gone", "hf:org/name")
    assert [columns.is_member(row) for row in range(2)] == [False, True]
    assert columns.rows() == [columns.row(0), columns.row(1)] == [gone, ROWS[0]]
