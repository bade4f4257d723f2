import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import bencode
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.torrents import merkle_root, packs_in, torrent_v1, torrent_v2
from ptmtorrent.model.volume import MAX_VOLUME_PACKS, MAX_VOLUME_PIECES, PackHashes, VolumePlan, plan_volumes
from tests.simulators.packs import hash_pack, make_pack

GOLDEN = Path(__file__).parent.parent / "golden"
KIB, MIB = 1 << 10, 1 << 20
SIZES = {
    16 * KIB: (16 * KIB, 32 * KIB, 48 * KIB, 256 * KIB, 272 * KIB, 4 * MIB - 16 * KIB),
    256 * KIB: (4 * MIB, 4 * MIB + 256 * KIB, 12 * MIB, 64 * MIB - 256 * KIB),
    4 * MIB: (64 * MIB, 68 * MIB),
}
"""Sizes of packs by their piece length: one piece, a power of two of pieces, one more, and those at the thresholds."""


def pattern_pack(number: int, size: int) -> PackHashes:
    return hash_pack(bytes([number]) * size)


@pytest.fixture(scope="module")
def volume() -> VolumePlan:
    return plan_volumes([pattern_pack(number, size) for number, size in enumerate(SIZES[256 * KIB][:3])], [])[0]


def infohash_by_libtorrent(folder: Path, version: str, piece_bytes: int) -> str:
    lt = pytest.importorskip("libtorrent")
    flags = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only}[version]
    entries = sorted(lt.list_files(str(folder / "packs")), key=lambda entry: str(entry.filename))
    made = lt.create_torrent(entries, piece_bytes, flags)
    lt.set_piece_hashes(made, str(folder))
    hashes = lt.load_torrent_buffer(lt.bencode(made.generate())).info_hashes
    return str(getattr(hashes, version))


@pytest.mark.parametrize(
    ("piece_bytes", "sizes"),
    [(piece, chosen) for piece, sizes in SIZES.items() for chosen in (*[(size,) for size in sizes], sizes)],
    ids=str,
)
def test_infohashes_equal_those_libtorrent_makes_from_the_files(
    tmp_path: Path, piece_bytes: int, sizes: tuple[int, ...]
) -> None:
    packs = [make_pack(tmp_path, 1, seed=size, unit=size) for size in sizes]
    (plan,) = plan_volumes(packs, [])

    assert torrent_v1(plan)[1] == infohash_by_libtorrent(tmp_path, "v1", piece_bytes)
    assert torrent_v2(plan)[1] == infohash_by_libtorrent(tmp_path, "v2", piece_bytes)


@pytest.mark.parametrize("make", [torrent_v1, torrent_v2])
def test_libtorrent_reads_the_infohash_we_say(volume: VolumePlan, make: Any) -> None:
    lt = pytest.importorskip("libtorrent")
    torrent, infohash = make(volume)

    hashes = lt.load_torrent_buffer(torrent).info_hashes

    assert infohash in {str(hashes.v1), str(hashes.v2)}


@pytest.mark.parametrize("piece_bytes", SIZES)
@pytest.mark.parametrize(("make", "name"), [(torrent_v1, "v1"), (torrent_v2, "v2")])
def test_a_torrent_is_byte_for_byte_the_golden_one(piece_bytes: int, make: Any, name: str) -> None:
    packs = [pattern_pack(number, size) for number, size in enumerate(SIZES[piece_bytes])]
    (plan,) = plan_volumes(packs, [])
    assert make(plan)[0] == (GOLDEN / f"volume-{piece_bytes >> 10}.{name}.torrent").read_bytes()


@pytest.mark.parametrize("make", [torrent_v1, torrent_v2])
def test_a_torrent_tells_its_packs(volume: VolumePlan, make: Any) -> None:
    assert packs_in(make(volume)[0], name="x") == tuple((pack.pack, pack.size) for pack in volume.packs)


@pytest.mark.parametrize("make", [torrent_v1, torrent_v2])
def test_a_torrent_says_nothing_but_what_follows_from_the_packs(volume: VolumePlan, make: Any) -> None:
    whole = bencode.decode(make(volume)[0], name="x")

    assert isinstance(whole, dict)
    assert whole.keys() <= {b"info", b"piece layers"}
    info = whole[b"info"]
    assert isinstance(info, dict)
    assert info.keys() <= {b"files", b"file tree", b"meta version", b"name", b"piece length", b"pieces"}


def test_hashes_that_do_not_fit_are_refused(volume: VolumePlan) -> None:
    good = max(volume.packs, key=lambda pack: pack.size)
    for bad in (
        msgspec.structs.replace(good, size=good.size + 1),
        msgspec.structs.replace(good, size=0, pieces_v1=b""),
        msgspec.structs.replace(good, pieces_v1=good.pieces_v1[:-20]),
        msgspec.structs.replace(good, root_v2=bytes(32)),
        msgspec.structs.replace(good, layer_v2=b""),
        msgspec.structs.replace(good, layer_v2=bytes(len(good.layer_v2))),
    ):
        with pytest.raises(IntegrityError, match=good.pack):
            torrent_v2(VolumePlan(rights="open", level=0, packs=(bad,)))


def _bent(torrent: bytes, *, where: bytes, value: bencode.Value) -> bytes:
    whole = bencode.decode(torrent, name="x")
    assert isinstance(whole, dict)
    info = whole[b"info"]
    assert isinstance(info, dict)
    info[where] = value
    return bencode.encode(whole)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (b"name", b".."),
        (b"piece length", 1 << 20),
        (b"piece length", 16 << 10),
        (b"piece length", 4 << 20),
        (b"piece length", b"x"),
        (b"files", []),
        (b"files", 3),
        (b"files", [{b"length": 4 << 20, b"path": [b"..", b"x"]}]),
        (b"files", [{b"length": 4 << 20, b"path": [b"00", b"0" * 64 + b".pack", b"x"]}]),
        (b"files", [{b"length": 4 << 20, b"path": [b"01", b"0" * 64 + b".pack"]}]),
        (b"files", [{b"length": 5, b"path": [b"00", b"0" * 64 + b".pack"]}]),
        (b"files", [{b"length": 4 << 20, b"path": [b"00", b"0" * 64 + b".pack"]}] * 2),
        (b"files", [{b"length": 16 << 10, b"path": [b"00", b"0" * 64 + b".pack"]}]),
        (b"files", [{b"length": 64 << 20, b"path": [b"00", b"0" * 64 + b".pack"]}]),
        (b"files", [{b"length": 1 << 60, b"path": [b"00", b"0" * 64 + b".pack"]}]),
        (b"files", [{b"length": 4 << 20, b"path": [b"00", b"0" * 64 + b".pack"], b"attr": b"l"}]),
        (b"file tree", {}),
        (b"pieces", b"x" * 21),
        (b"pieces", 3),
        (b"private", 1),
    ],
)
def test_a_torrent_of_anything_else_is_refused(volume: VolumePlan, where: bytes, value: bencode.Value) -> None:
    with pytest.raises(IntegrityError, match="`x`"):
        packs_in(_bent(torrent_v1(volume)[0], where=where, value=value), name="x")


@pytest.mark.parametrize("folder", [7, b"zz", [], {}])
def test_an_entry_that_is_no_folder_of_packs_is_refused(volume: VolumePlan, folder: bencode.Value) -> None:
    whole = bencode.decode(torrent_v2(volume)[0], name="x")
    assert isinstance(whole, dict)
    info = whole[b"info"]
    assert isinstance(info, dict)
    assert isinstance(info[b"file tree"], dict)
    info[b"file tree"][b"zz"] = folder
    with pytest.raises(IntegrityError, match="no pack has"):
        packs_in(bencode.encode(whole), name="x")


@pytest.mark.parametrize("make", [torrent_v1, torrent_v2])
@pytest.mark.parametrize("key", [b"announce", b"nodes", b"url-list", b"zzz"])
def test_a_torrent_that_leads_elsewhere_is_refused(volume: VolumePlan, make: Any, key: bytes) -> None:
    whole = bencode.decode(make(volume)[0], name="x")
    assert isinstance(whole, dict)

    with pytest.raises(IntegrityError, match="`x` has keys that"):
        packs_in(bencode.encode({**whole, key: b"http://elsewhere.invalid/"}), name="x")


@settings(max_examples=80)
@given(data=st.data())
def test_a_damaged_torrent_is_refused_or_still_names_packs(volume: VolumePlan, data: st.DataObject) -> None:
    torrent = bytearray(torrent_v2(volume)[0])
    at = data.draw(st.integers(0, len(torrent) - 1))
    torrent[at] ^= data.draw(st.integers(1, 255))
    try:
        packs = packs_in(bytes(torrent), name="x")
    except IntegrityError:
        return
    assert all(size % (256 * KIB) == 0 for _, size in packs)


def _fake_pack(number: int, size: int) -> PackHashes:
    """A pack whose hashes are made up, and fit each other."""
    pieces = size // (16 * KIB)
    layer = hashlib.sha256(str(number).encode()).digest() * pieces
    return PackHashes(
        pack=PackId(hashlib.sha256(b"pack %d" % number).hexdigest()),
        size=size,
        rights="open",
        pieces_v1=bytes(20 * pieces),
        root_v2=merkle_root(layer, 16 * KIB),
        layer_v2=layer,
    )


def test_the_largest_volume_has_torrents_that_readers_take() -> None:
    size = MAX_VOLUME_PIECES // MAX_VOLUME_PACKS * 16 * KIB
    (plan,) = plan_volumes([_fake_pack(number, size) for number in range(MAX_VOLUME_PACKS)], [])
    listed = tuple((pack.pack, pack.size) for pack in plan.packs)

    assert packs_in(torrent_v1(plan)[0], name="x") == packs_in(torrent_v2(plan)[0], name="x") == listed


@pytest.mark.parametrize("count", [MAX_VOLUME_PACKS + 1, 1029], ids=["packs", "bytes"])
def test_a_volume_over_a_limit_is_refused(count: int) -> None:
    size = 16 * KIB if count > MAX_VOLUME_PACKS else 4 * MIB - 16 * KIB
    files = [
        {b"length": size, b"path": [name[:2], name + b".pack"]}
        for name in (b"%064x" % number for number in range(count))
    ]
    pieces = bytes(20 * count * (size // (16 * KIB)))
    info = {b"files": files, b"name": b"packs", b"piece length": 16 * KIB, b"pieces": pieces}

    with pytest.raises(IntegrityError, match="more packs or bytes"):
        packs_in(bencode.encode({b"info": info}), name="x")
