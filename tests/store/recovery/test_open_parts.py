"""Open parts are continued where they were committed: only what lies beyond is decoded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store.pack import writer as pack_writer
from ptmtorrent.store.pack.reader import PackReader
from ptmtorrent.store.pack.writer import HASH_BYTES, PIECE_BYTES, PartState, PieceHasher
from ptmtorrent.store.store import Store
from tests.store.samples import WEIGHTS, add_bytes, bf16, name_of, random_bytes, reading, safetensors, whole, writing

OBJECTS = [random_bytes(1 << 20, seed) for seed in range(10)]
PART = "weights-hot-open.part"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with an open part of ten megabytes: two whole pieces and a rest."""
    root = tmp_path / "store"
    with writing(root) as store:
        for data in OBJECTS:
            store.put(data, pack_class=WEIGHTS)
    return root


def state(root: Path, name: str = PART) -> PartState | None:
    with reading(root) as store:
        return store._index.part_state(name)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def no_decoding(*_: object) -> bytes:
    raise AssertionError("an object was decoded")


def test_state_has_a_hash_for_each_whole_piece_and_the_rest(root: Path) -> None:
    found = state(root)
    assert found is not None
    data = (root / "open" / PART).read_bytes()
    assert (found.length, found.objects) == (len(data), len(OBJECTS))
    pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    assert found.hashes == b"".join(bytes.fromhex(name_of(piece)) for piece in pieces)
    assert len(found.hashes) == 3 * HASH_BYTES


def test_opening_decodes_nothing_and_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(root):
        pass
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.suffix not in {".sqlite-shm", ""}}
    data = (root / "index.sqlite").read_bytes()
    monkeypatch.setattr(PackReader, "object", no_decoding)
    monkeypatch.setattr(PackReader, "scan", no_decoding)
    monkeypatch.setattr(pack_writer, "PackHasher", no_decoding)
    with writing(root) as store:
        assert store._writer is not None
        assert [part.objects for part in store._writer.parts] == [len(OBJECTS)]
    assert (root / "index.sqlite").read_bytes() == data
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} <= {root / "index.sqlite"}


def test_part_that_was_continued_seals_as_one_that_was_never_left(root: Path, tmp_path: Path) -> None:
    more = random_bytes(3 << 20, 99)
    with writing(root) as store:
        store.put(more, pack_class=WEIGHTS)
        (continued,) = store.seal()
        assert store.pack_hashes(continued).pack == continued
    with writing(tmp_path / "other") as store:
        for data in (*OBJECTS, more):
            store.put(data, pack_class=WEIGHTS)
        assert store.seal() == [continued]
    with reading(root) as store:
        assert all(store.read(name_of(data)) == data for data in (*OBJECTS, more))


def test_whole_objects_beyond_the_committed_length_are_kept_and_a_torn_one_is_cut(root: Path) -> None:
    store = Store.open(root, write=True)
    fresh = [random_bytes(5_000_000, seed) for seed in (50, 51)]
    for data in fresh:
        store.put(data, pack_class=WEIGHTS)
    store.close()
    part = root / "open" / PART
    whole = part.stat().st_size
    with part.open("ab") as file:
        file.write(b"PTMo torn")
    before = state(root)
    assert before is not None
    with writing(root) as store:
        assert all(store.has(name_of(data)) for data in fresh)
    assert part.stat().st_size == whole
    after = state(root)
    assert after is not None
    assert (after.length, after.objects) == (whole, before.objects + 2)
    pieces = PieceHasher()
    pieces.update(part.read_bytes())
    assert after.hashes == pieces.hashes()
    with writing(root) as store:
        store.seal()
        assert all(store.read(name_of(data)) == data for data in (*OBJECTS, *fresh))


def test_only_what_lies_beyond_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(root, write=True)
    fresh = name_of(store_and_close(store, random_bytes(700, 60)))
    decoded: list[ObjectId] = []
    decode = PackReader.object

    def note(reader: PackReader, entry: object, base: bytes | None = None) -> bytes:
        decoded.append(entry.id)  # type: ignore[attr-defined]
        return decode(reader, entry, base)  # type: ignore[arg-type]

    monkeypatch.setattr(PackReader, "object", note)
    with writing(root):
        pass
    assert set(decoded) == {fresh}


def store_and_close(store: Store, data: bytes) -> bytes:
    store.put(data, pack_class=WEIGHTS)
    store.close()
    return data


def test_delta_beyond_the_committed_length_is_kept_with_its_committed_base(tmp_path: Path) -> None:
    root, base = tmp_path / "store", bf16(400_000)
    tuned = base[:1000] + bf16(100, 9) + base[1200:]
    with writing(root) as store:
        add_bytes(store, tmp_path, "a.safetensors", safetensors({"a": ("BF16", [400_000], base)}))
    store = Store.open(root, write=True)
    file = add_bytes(store, tmp_path, "b.safetensors", safetensors({"a": ("BF16", [400_000], tuned)}))
    deltas = [identifier for identifier, _ in file.objects if store.base_of(identifier)]
    assert deltas
    store.close()
    with writing(root) as store:
        assert all(store.base_of(identifier) for identifier in deltas)
        assert tuned in whole(store, file.objects)


@pytest.mark.parametrize("use", ["append", "seal"])
def test_changed_whole_piece_is_found_before_the_part_is_continued(root: Path, use: str) -> None:
    flip(root / "open" / PART, 3_000_000)
    for attempt in range(2):
        store = Store.open(root, write=True)
        if attempt == 0:
            with pytest.raises(StoreError, match="damaged") as caught:
                USES[use](store)
            assert "run the same command again" in str(caught.value.hint)
        else:
            USES[use](store)
            store.commit()
        store.close()
    assert (root / "damaged" / PART).is_file()
    with reading(root) as store:
        here = [store.has(name_of(data)) for data in OBJECTS]
        assert here.count(False) == 1
        assert all(store.read(name_of(data)) == data for data, is_here in zip(OBJECTS, here, strict=True) if is_here)


USES: dict[str, Callable[[Store], object]] = {
    "append": lambda store: store.put(random_bytes(100, 70), pack_class=WEIGHTS),
    "seal": lambda store: store.seal(),
}


def test_changed_rest_is_found_when_the_store_is_opened(root: Path) -> None:
    path = root / "open" / PART
    flip(path, path.stat().st_size - 100)
    with writing(root) as store:
        assert [store.has(name_of(data)) for data in OBJECTS] == [True] * 9 + [False]


def test_part_that_is_shorter_than_it_was_committed_is_rechecked(root: Path) -> None:
    path = root / "open" / PART
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - (3 << 19))
    with writing(root) as store:
        assert [store.has(name_of(data)) for data in OBJECTS] == [True] * 8 + [False] * 2
    found = state(root)
    assert found is not None
    assert found.objects == 8


@pytest.mark.parametrize("damage", ["hashes = x'00'", "length = 7", "length = -1", "objects = -5"])
def test_part_whose_record_is_damaged_is_rechecked(root: Path, damage: str) -> None:
    before = state(root)
    with writing(root) as store, store._index.transaction():
        store._index._write(f"UPDATE parts SET {damage}")  # noqa: S608  # of the test
    with writing(root) as store:
        assert all(store.has(name_of(data)) for data in OBJECTS)
    assert state(root) == before


def test_sealed_part_leaves_no_record(root: Path) -> None:
    with writing(root) as store:
        store.seal()
        assert store._index._run("SELECT count(*) FROM parts") == [(0,)]
