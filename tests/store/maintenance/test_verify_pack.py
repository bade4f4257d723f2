"""Every flipped bit of a pack is found, and its region and object are reported."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.maintenance import verify_pack
from ptmtorrent.store.maintenance.verify_pack import CheckedPack, Expectation, check_pack, read_footer, record_start
from ptmtorrent.store.pack import writer as pack_writer
from ptmtorrent.store.pack.format import Entry, PackInfo
from ptmtorrent.store.pack.reader import hash_pack, open_pack
from ptmtorrent.store.pack.writer import new_part
from tests.store.samples import META, append, random_bytes

OBJECTS = [random_bytes(size, seed=size) for size in (900, 70, 5000)]
TINY = 1024
"""A piece length small enough to read thousands of packs completely."""


class NameAlone:
    """Computes only the name of a pack, of any size."""

    def __init__(self, _: object = None) -> None:
        self.size = 0
        self._blake3 = blake3()

    def update(self, data: bytes) -> None:
        self._blake3.update(data)
        self.size += len(data)

    def finish(self, rights: Rights) -> PackHashes:
        name = PackId(self._blake3.hexdigest())
        return PackHashes(pack=name, size=self.size, rights=rights, pieces_v1=b"", root_v2=b"", layer_v2=b"")


def new_pack(folder: Path) -> tuple[Path, Expectation]:
    part = new_part(folder / "meta-open.part", META)
    for data in OBJECTS:
        append(part, data)
    hashes = part.finish(PackInfo(libraries={}, parameters={}))
    with open_pack(part.path) as reader:
        entries, _ = read_footer(reader)
    return part.path, Expectation(pack=hashes.pack, size=hashes.size, entries=entries, hashes=hashes)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expectation]:
    return new_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def tiny_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Expectation]:
    for module in (verify_pack, pack_writer):
        monkeypatch.setattr(module, "PackHasher", NameAlone)
        monkeypatch.setattr(module, "padded", lambda length: -(-length // TINY) * TINY)
    return new_pack(tmp_path)


def look(path: Path, expected: Expectation) -> CheckedPack:
    return check_pack(path, expected, lambda _: None, lambda _: None)


def regions(path: Path) -> list[tuple[str, ObjectId | None, range]]:
    """Every region of the pack, with its kind and object."""
    with open_pack(path) as reader:
        entries, footer = read_footer(reader)
        size = reader.size
    found: list[tuple[str, ObjectId | None, range]] = [("header", None, range(record_start(entries[0])))]
    for entry in entries:
        found.append(("record", entry.id, range(record_start(entry), entry.offset)))
        found.append(("object", entry.id, range(entry.offset, entry.end)))
    found.append(("footer", None, range(footer.offset, footer.end)))
    found.append(("padding", None, range(footer.end, size)))
    return found


def chosen_bits(path: Path) -> Iterator[tuple[str, ObjectId | None, int, int]]:
    """All bits of header, records, footer and trailer; some of stored bytes and padding."""
    source = random.Random(7)
    for what, owner, stretch in regions(path):
        exhaustive = what not in {"object", "padding"}
        places = stretch if exhaustive else [stretch[0], stretch[-1], *source.sample(stretch, min(200, len(stretch)))]
        for at in places:
            for bit in range(8) if exhaustive else [source.randrange(8)]:
                yield what, owner, at, bit


@pytest.mark.parametrize("indexed", [True, False])
def test_every_flipped_bit_is_found_and_named(tiny_pack: tuple[Path, Expectation], *, indexed: bool) -> None:
    path, expected = tiny_pack
    if not indexed:
        expected = Expectation(pack=expected.pack, size=expected.size)
    misnamed = []
    flipped = 0
    with path.open("r+b", buffering=0) as file:
        for what, owner, at, bit in chosen_bits(path):
            byte = path_byte(file, at)
            put_byte(file, at, byte ^ (1 << bit))
            damages = look(path, expected).damages
            put_byte(file, at, byte)
            flipped += 1
            named = [damage for damage in damages if (damage.what, damage.object) == (what, owner)]
            inside = any(damage.extent.offset <= at < damage.extent.end for damage in named)
            if not inside or len(damages) != 1:
                misnamed.append((what, at, bit, damages))
    assert misnamed == []
    assert flipped > 5000
    assert look(path, expected).damages == ()


@pytest.mark.parametrize("what", ["header", "record", "object", "footer", "padding"])
def test_a_flip_in_a_pack_of_full_size_is_named(pack: tuple[Path, Expectation], tmp_path: Path, what: str) -> None:
    path = copy(pack, tmp_path)
    stretch = next(stretch for kind, _, stretch in regions(path) if kind == what)
    with path.open("r+b", buffering=0) as file:
        put_byte(file, stretch[-1], path_byte(file, stretch[-1]) ^ 4)
    assert [damage.what for damage in look(path, pack[1]).damages] == [what]


def path_byte(file: Any, at: int) -> int:
    file.seek(at)
    return int(file.read(1)[0])


def put_byte(file: Any, at: int, byte: int) -> None:
    file.seek(at)
    file.write(bytes([byte]))


def copy(pack: tuple[Path, Expectation], tmp_path: Path) -> Path:
    target = tmp_path / "copy.pack"
    target.write_bytes(pack[0].read_bytes())
    return target


def test_a_whole_pack_has_the_hashes_it_was_sealed_with(pack: tuple[Path, Expectation]) -> None:
    checked = look(*pack)
    assert checked.damages == ()
    assert checked.hashes == hash_pack(pack[0], pack[1].pack)
    assert [entry.id for entry in checked.entries] == [entry.id for entry in pack[1].entries]


def test_several_damages_are_all_named(pack: tuple[Path, Expectation], tmp_path: Path) -> None:
    path = copy(pack, tmp_path)
    first, second, third = pack[1].entries
    with path.open("r+b", buffering=0) as file:
        for at in (first.offset, second.offset - 1, third.end - 1, third.end + 20, pack[1].size - 1):
            put_byte(file, at, path_byte(file, at) ^ 16)
    assert [damage.what for damage in look(path, pack[1]).damages] == ["object", "record", "object", "footer"]


def test_a_pack_cut_short_names_the_objects_it_lost(pack: tuple[Path, Expectation], tmp_path: Path) -> None:
    path = copy(pack, tmp_path)
    entries: tuple[Entry, ...] = pack[1].entries
    with path.open("r+b") as file:
        file.truncate(entries[1].end)
    checked = look(path, pack[1])
    assert checked.lost == (entries[2].id,)
    assert checked.hashes.pack != pack[1].pack


def test_a_pack_with_more_bytes_than_it_had_is_no_longer_that_pack(
    pack: tuple[Path, Expectation], tmp_path: Path
) -> None:
    path = copy(pack, tmp_path)
    with path.open("ab") as file:
        file.write(b"more")
    assert [damage.what for damage in look(path, pack[1]).damages] == ["bytes"]


def test_stored_bytes_that_differ_and_still_decode_are_narrowed_to_their_piece(
    pack: tuple[Path, Expectation], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = copy(pack, tmp_path)
    entry = pack[1].entries[0]
    with path.open("r+b", buffering=0) as file:
        put_byte(file, entry.offset, path_byte(file, entry.offset) ^ 1)
    monkeypatch.setattr(verify_pack.PackReader, "object", lambda *_: b"")
    (damage,) = look(path, pack[1]).damages
    assert (damage.what, damage.extent.offset, damage.extent.length) == ("bytes", 0, 16 << 10)
