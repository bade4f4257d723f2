import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.store.pack import format as pack_format
from ptmtorrent.store.pack.format import PackInfo
from ptmtorrent.store.pack.reader import PackReader, hash_pack, open_pack
from ptmtorrent.store.pack.writer import new_part
from tests.simulators.packs import hash_pack as hash_by_definition
from tests.store.samples import META, append, name_of, random_bytes, reopen

INFO = PackInfo(libraries={"libzstd": "1.5.7"}, parameters={})
OBJECTS = [random_bytes(size, seed=size) for size in (1, 500, 70_000, 0, 3000, 20_000)]


def write_pack(folder: Path, objects: list[bytes] = OBJECTS) -> tuple[Path, PackId]:
    part = new_part(folder / "meta-open.part", META)
    for data in objects:
        append(part, data)
    hashes = part.finish(INFO)
    return part.path, hashes.pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackId]:
    return write_pack(tmp_path_factory.mktemp("pack"))


def by_footer(path: Path) -> dict[ObjectId, bytes]:
    with open_pack(path) as reader:
        return {entry.id: reader.object(entry) for entry in reader.footer()}


def by_scan(path: Path) -> list[bytes]:
    with open_pack(path) as reader:
        return [reader.object(found.entry) for found in reader.scan() if reader.holds(found.entry)]


def test_footer_and_scan_find_the_same_objects(pack: tuple[Path, PackId]) -> None:
    assert by_footer(pack[0]) == {name_of(data): data for data in OBJECTS}
    assert by_scan(pack[0]) == OBJECTS
    with open_pack(pack[0]) as reader:
        assert [found.entry for found in reader.scan()] == list(reader.footer())


def test_a_pack_is_whole_pieces_and_named_by_its_bytes(pack: tuple[Path, PackId]) -> None:
    path, name = pack
    assert path.stat().st_size == 6 * (16 << 10)
    assert hash_pack(path, name).pack == name == name_of(path.read_bytes())


@pytest.mark.interop
def test_b3sum_agrees_with_the_name(pack: tuple[Path, PackId]) -> None:
    program = shutil.which("b3sum")
    if program is None:
        pytest.skip("b3sum is not installed")
    printed = subprocess.run([program, str(pack[0])], check=True, capture_output=True, text=True).stdout
    assert printed.split()[0] == pack[1]


def test_the_trailer_is_found_across_a_piece_boundary(tmp_path: Path) -> None:
    # Grow the objects until the trailer starts in one piece and ends in the next.
    path, name = write_pack(tmp_path, objects_for(tmp_path, (16 << 10) + 10))
    assert path.stat().st_size == 32 << 10
    assert len(by_footer(path)) == 3
    assert hash_pack(path, name).size == 32 << 10


def objects_for(folder: Path, length: int) -> list[bytes]:
    """Three objects that make a pack `length` bytes long before padding: header, records, footer and trailer."""
    empty, _ = write_pack(folder, [])
    left = length - len(empty.read_bytes().rstrip(b"\0")) - 3 * (pack_format.RECORD_BYTES + pack_format.ROW_BYTES)
    return [random_bytes(size, seed=size) for size in (left // 3, left // 2, left - left // 3 - left // 2)]


@pytest.mark.parametrize(
    ("length", "size", "piece_bytes"),
    [
        ((16 << 10) - 1, 16 << 10, 16 << 10),
        (16 << 10, 16 << 10, 16 << 10),
        ((16 << 10) + 1, 32 << 10, 16 << 10),
        ((4 << 20) - (16 << 10), (4 << 20) - (16 << 10), 16 << 10),
        ((4 << 20) - 1, 4 << 20, 256 << 10),
        (4 << 20, 4 << 20, 256 << 10),
        ((4 << 20) + 1, (4 << 20) + (256 << 10), 256 << 10),
        ((64 << 20) - (256 << 10), (64 << 20) - (256 << 10), 256 << 10),
        ((64 << 20) - 1, 64 << 20, 4 << 20),
        (64 << 20, 64 << 20, 4 << 20),
        ((64 << 20) + 1, 68 << 20, 4 << 20),
    ],
)
def test_a_pack_is_padded_by_its_length_with_footer_and_trailer(
    tmp_path: Path, length: int, size: int, piece_bytes: int
) -> None:
    part = new_part(tmp_path / "meta-open.part", META)
    for data in objects_for(tmp_path / "empty", length):
        append(part, data)
    hashes = part.finish(INFO)
    data = part.path.read_bytes()

    assert len(data.rstrip(b"\0")) == length
    assert len(data) == size
    assert len(hashes.pieces_v1) == size // piece_bytes * 20
    assert hashes == hash_pack(part.path, hashes.pack) == hash_by_definition(data)
    assert len(by_footer(part.path)) == 3


def test_a_damaged_stretch_is_skipped(pack: tuple[Path, PackId], tmp_path: Path) -> None:
    data = bytearray(pack[0].read_bytes())
    at = data.index(OBJECTS[1])
    data[at - 10] ^= 1
    path = tmp_path / "damaged.pack"
    path.write_bytes(data)
    assert by_scan(path) == [OBJECTS[0], *OBJECTS[2:]]


def test_a_torn_header_loses_no_object(pack: tuple[Path, PackId], tmp_path: Path) -> None:
    path = tmp_path / "damaged.pack"
    path.write_bytes(bytes(20) + pack[0].read_bytes()[20:])
    assert by_scan(path) == OBJECTS


@pytest.mark.parametrize("keep", [0, 7, 100, 48 << 10, 80 << 10, (96 << 10) - 1])
def test_a_short_pack_is_refused(pack: tuple[Path, PackId], tmp_path: Path, keep: int) -> None:
    path = tmp_path / "short.pack"
    path.write_bytes(pack[0].read_bytes()[:keep])
    with pytest.raises(IntegrityError):
        by_footer(path)
    with pytest.raises(IntegrityError):
        hash_pack(path, pack[1])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 99_999), bits=st.integers(1, 255))
def test_a_flipped_byte_never_gives_wrong_bytes(
    pack: tuple[Path, PackId], tmp_path: Path, where: int, bits: int
) -> None:
    data = bytearray(pack[0].read_bytes())
    data[where % len(data.rstrip(b"\0"))] ^= bits
    path = tmp_path / "flipped.pack"
    path.write_bytes(data)
    assert set(by_scan(path)) <= set(OBJECTS)
    with pytest.raises(IntegrityError, match="is damaged"):
        hash_pack(path, pack[1])
    with suppress(IntegrityError, UnsupportedFormat):
        assert by_footer(path) == {name_of(item): item for item in OBJECTS}


def test_a_part_is_continued_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "meta-open.part"
    part = new_part(path, META)
    for data in OBJECTS[:3]:
        append(part, data)
    part.close()
    again = reopen(path)
    for data in OBJECTS[3:]:
        append(again, data)
    interrupted = again.finish(INFO)
    (tmp_path / "whole").mkdir()
    assert interrupted.pack == write_pack(tmp_path / "whole")[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.integers(0, 94_000))
def test_a_torn_part_keeps_every_whole_object(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "meta-open.part"
    part = new_part(path, META)
    ends = [append(part, data).end for data in OBJECTS]
    part.close()
    path.write_bytes(path.read_bytes()[:keep])
    again = reopen(path)
    kept = [data for data, end in zip(OBJECTS, ends, strict=True) if end <= keep]
    assert [entry.id for entry in again.entries] == [name_of(data) for data in kept]
    assert path.stat().st_size == again.size
    again.close()


def test_bytes_that_do_not_hash_to_their_id_end_a_part(tmp_path: Path) -> None:
    path = tmp_path / "meta-open.part"
    part = new_part(path, META)
    for data in OBJECTS:
        append(part, data)
    part.close()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(OBJECTS[2]) + 5] ^= 1
    path.write_bytes(damaged)
    again = reopen(path)
    assert [entry.id for entry in again.entries] == [name_of(data) for data in OBJECTS[:2]]
    again.close()


def test_damage_before_what_looks_like_records_costs_no_more_reads_than_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.part"
    path.write_bytes(b"no header" + pack_format.RECORD_MAGIC * 5000)
    monkeypatch.setattr("ptmtorrent.store.pack.reader.READ_BYTES", 1000)
    asked: list[int] = []
    read = PackReader.read

    def counted(self: PackReader, offset: int, length: int) -> bytes:
        asked.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(PackReader, "read", counted)
    with open_pack(path) as reader:
        assert list(reader.scan()) == []
    assert sum(length for length in asked if length > pack_format.MAX_RECORD_BYTES) < 3 * path.stat().st_size


def test_padding_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    path, _ = write_pack(tmp_path, objects_for(tmp_path, (4 << 20) + 1))
    status = path.stat()
    if os.statvfs(tmp_path).f_bsize > 1 << 16:
        pytest.skip("the filesystem counts in blocks too large to tell")
    assert status.st_size == (4 << 20) + (256 << 10)
    assert status.st_blocks * 512 < (4 << 20) + (128 << 10)
