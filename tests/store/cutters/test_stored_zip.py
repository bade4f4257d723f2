"""Zips are cut at their members, if the directory and the local headers agree on them."""

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from ptmtorrent.model.containers.zip_directory import read_directory
from ptmtorrent.store.cutters import MemorySource, NotThisFormat, cut
from tests.store.cutters.samples import Sparse, Unseekable, contents, covers, cut_bytes, mixed_zip, npz
from tests.store.samples import numbers, random_bytes

BODY = random_bytes(80_000)


def zipped(*, forced: bool = False, piped: bool = False, packed: bool = False, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(Unseekable(out) if piped else out, "w") as archive:
        info = zipfile.ZipInfo("folder/größe.bin")
        info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with archive.open(info, "w", force_zip64=forced) as member:
            member.write(BODY)
        archive.writestr("small", b"small")
        archive.comment = comment
    return out.getvalue()


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("comment", [b"", b"PK\x05\x06 is no end"])
def test_a_stored_member_is_a_piece_however_its_sizes_are_written(forced: bool, piped: bool, comment: bytes) -> None:
    data = zipped(forced=forced, piped=piped, comment=comment)
    found = cut_bytes(data, "files.zip")
    assert found.cutter == "zip/2"
    assert BODY in contents(data, found)


def test_arrays_of_numpy_are_pieces_without_their_headers() -> None:
    data = npz()
    found = cut_bytes(data, "arrays.npz")
    arrays = [(piece.length, piece.dtype) for piece in found.pieces if piece.dtype is not None]
    assert arrays == [(80_000, "F32"), (80_000, "F64"), (70_000, "I8")]
    assert numbers(20_000).tobytes() in contents(data, found)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("<f2", "F16"), ("<f8", "F64"), ("<i8", "I64"), ("|b1", "BOOL"), (">f4", None), ("|V2", None), ("<c8", "C64")],
)
def test_an_array_has_the_dtype_its_header_names(kind: str, dtype: str | None) -> None:
    out = io.BytesIO()
    np.savez(out, a=np.zeros((200, 500), kind))
    piece = max(cut_bytes(out.getvalue(), "arrays.npz").pieces, key=lambda piece: piece.length)
    assert piece.dtype == dtype


def test_an_array_of_another_shape_has_another_key() -> None:
    keys = []
    for shape in ((100, 200), (200, 100), (100, 200)):
        out = io.BytesIO()
        np.savez(out, a=numbers(20_000).reshape(shape))
        keys.append(max(cut_bytes(out.getvalue(), "a.npz").pieces, key=lambda piece: piece.length).key)
    assert keys[0] == keys[2] != keys[1]


def test_compressed_members_beside_stored_ones_are_pieces_too() -> None:
    data = mixed_zip()
    found = cut_bytes(data, "files.zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        packed = archive.getinfo("packed.bin").compress_size
    assert [piece.dtype for piece in found.pieces if piece.length == packed] == [None]


def test_a_zip_with_nothing_stored_is_left_to_others() -> None:
    assert cut_bytes(zipped(packed=True), "files.zip").cutter == "opaque/1"


def lie(at: str, offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    def apply(data: bytearray) -> None:
        start = {"local": 0, "central": data.index(b"PK\x01\x02"), "end": data.rindex(b"PK\x05\x06")}[at]
        struct.pack_into(form, data, start + offset, value)

    return apply


LIES = {
    "local method": lie("local", 8, "<H", 8),
    "local size": lie("local", 18, "<I", 79_999),
    "local name": lie("local", 30, "<B", 0),
    "local name length": lie("local", 26, "<H", 0xFFFF),
    "local magic": lie("local", 0, "<I", 0),
    "another size than packed": lie("central", 24, "<I", 5),
    "beyond the directory": lie("central", 20, "<I", 80_500),
    "2^32 - 1 without zip64": lie("central", 42, "<I", 0xFFFF_FFFF),
    "offset in the data": lie("central", 42, "<I", 50),
    "extra beyond": lie("central", 30, "<H", 0xFFFF),
    "comment beyond": lie("central", 32, "<H", 0xFFFF),
    "on another disk": lie("central", 34, "<H", 1),
    "central magic": lie("central", 0, "<I", 0),
    "count": lie("end", 10, "<H", 3),
    "both counts": lie("end", 8, "<I", 0x0003_0003),
    "count that asks for zip64": lie("end", 10, "<H", 0xFFFF),
    "directory elsewhere": lie("end", 16, "<I", 1),
    "directory of another size": lie("end", 12, "<I", 1 << 31),
    "end of another disk": lie("end", 4, "<H", 1),
    "comment of another length": lie("end", 20, "<H", 1),
}


@pytest.mark.parametrize("apply", LIES.values(), ids=LIES)
def test_a_zip_that_lies_is_not_cut(apply: Callable[[bytearray], None]) -> None:
    data = bytearray(zipped())
    apply(data)
    found = cut_bytes(bytes(data), "files.zip")
    assert found.cutter == "opaque/1"


def test_members_that_overlap_are_not_cut() -> None:
    data = bytearray(zipped())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", data, second + 42, 10)
    with pytest.raises(NotThisFormat):
        read_directory(MemorySource(bytes(data)))


@pytest.mark.parametrize("data", [b"junk" + zipped(), zipped() + b"\0", zipped() + zipped()])
def test_bytes_around_a_zip_leave_it_uncut(data: bytes) -> None:
    assert cut_bytes(data, "files.zip").cutter == "opaque/1"


def test_members_beyond_4_gib_are_found() -> None:
    length = 5 << 30
    name = b"big"
    wide = struct.pack("<HHQQ", 1, 16, length, length)
    local = (
        struct.pack("<4s5HIIIHH", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0xFFFF_FFFF, 0xFFFF_FFFF, 3, len(wide)) + name + wide
    )
    start = len(local) + length
    entry = struct.pack(
        "<4s6H3I5HII", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, *[0xFFFF_FFFF] * 2, 3, len(wide), 0, 0, 0, 0, 0
    )
    tail = entry + name + wide
    end = start + len(tail)
    tail += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(tail), start)
    tail += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    tail += struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 1, 1, 0xFFFF_FFFF, 0xFFFF_FFFF, 0)
    source = Sparse(start + len(tail), local, tail)
    found = cut(source, "big.zip")
    assert found.cutter == "zip/2"
    assert covers(found.pieces, source.size)
    assert [piece.length for piece in found.pieces[1:-1]] == [16 << 20] * 320
    assert source.bytes_read < 300_000
