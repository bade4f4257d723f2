"""A damaged byte in an unsealed part costs the object it is in, and no other."""

from pathlib import Path

import pytest

from ptmtorrent.store import codecs
from ptmtorrent.store.index import Found
from ptmtorrent.store.ingest.encode_pool import Coded
from ptmtorrent.store.pack.format import encode_record
from ptmtorrent.store.recovery import quarantine, recover
from ptmtorrent.store.store import Store
from tests.store.samples import META, WEIGHTS, add_bytes, bf16, name_of, random_bytes, sha256_oid, writing
from tests.store.test_hostile import changed

DATA = [random_bytes(5000, seed) for seed in range(6)]
PART = "meta-open.part"


class Crash(BaseException):
    """Simulates the end of the process."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fill(root: Path, folder: Path) -> list[Found]:
    """Commit six files to one part; return their entries."""
    with writing(root) as store:
        for content in DATA:
            add_bytes(store, folder, "a.bin", content, META)
        store.commit()
        places = [store._index.find(name_of(content)) for content in DATA]
    return [place for place in places if place is not None]


def flip(path: Path, at: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return bytes(data)


def read_all(store: Store) -> list[int]:
    """Return the numbers of the files that the store has, after checking that these are whole."""
    here = [number for number, content in enumerate(DATA) if store.has(name_of(content))]
    assert [store.read(name_of(DATA[number])) for number in here] == [DATA[number] for number in here]
    assert here == [number for number, content in enumerate(DATA) if store.known_file(sha256_oid(content))]
    return here


def test_a_flip_in_an_object_costs_that_object_alone(root: Path, tmp_path: Path) -> None:
    places = fill(root, tmp_path)
    bad = flip(root / "open" / PART, places[1].entry.offset + 7)
    with writing(root) as store:
        assert read_all(store) == [0, 2, 3, 4, 5]
        add_bytes(store, tmp_path, "again.bin", DATA[1], META)
        (pack,) = store.seal()
        assert read_all(store) == [0, 1, 2, 3, 4, 5]
        assert store.pack_hashes(pack).pack == name_of(store.pack_file(pack).read_bytes())
    assert (root / "damaged" / PART).read_bytes() == bad


def test_a_flip_in_the_record_or_the_header_costs_nothing(root: Path, tmp_path: Path) -> None:
    places = fill(root, tmp_path)
    flip(root / "open" / PART, places[1].entry.offset - 10)
    with writing(root) as store:
        assert read_all(store) == [0, 1, 2, 3, 4, 5]
    (part,) = (root / "open").iterdir()
    flip(part, 0)
    with writing(root) as store:
        assert read_all(store) == [0, 1, 2, 3, 4, 5]
    assert {path.name for path in (root / "damaged").iterdir()} == {PART, part.name}


def test_a_second_damaged_part_does_not_replace_the_first(root: Path, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        places = fill(root, tmp_path)
        part = root / "open" / PART
        kept.append(flip(part, places[1].entry.offset) if part.exists() else b"")
        with writing(root) as store:
            store.seal()
            for pack in store.packs():
                store.pack_file(pack).unlink()
    assert sorted(path.read_bytes() for path in (root / "damaged").iterdir()) == sorted(kept)


def test_an_uncommitted_torn_end_is_cut(root: Path, tmp_path: Path) -> None:
    fill(root, tmp_path)
    part = root / "open" / PART
    size = part.stat().st_size
    with part.open("ab") as file:
        file.write(b"PTMo" + random_bytes(3000, 77))
    with writing(root) as store:
        assert read_all(store) == [0, 1, 2, 3, 4, 5]
    assert part.stat().st_size == size
    assert not (root / "damaged").exists()


@pytest.mark.parametrize("step", ["name_file", "_quarantine", "sync_dir", "reindex_documents"])
def test_a_crash_in_between_is_recovered(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise Crash

    places = fill(root, tmp_path)
    bad = flip(root / "open" / PART, places[2].entry.offset)
    with monkeypatch.context() as patch:
        patch.setattr(recover if step == "reindex_documents" else quarantine, step, crash)
        with pytest.raises(Crash):
            Store.open(root, write=True)
    with writing(root) as store:
        assert read_all(store) == [0, 1, 3, 4, 5]
        store.seal()
        assert read_all(store) == [0, 1, 3, 4, 5]
    assert (root / "damaged" / PART).read_bytes() == bad
    assert list((root / "open").iterdir()) == []


def commit_delta(root: Path) -> list[bytes]:
    """Commit a base, a delta of it, and another object after both."""
    data = [bf16(40_000), changed(bf16(40_000), 1), random_bytes(900)]
    encoded = codecs.encode_delta(data[1], data[0], "BF16")
    assert encoded is not None
    with writing(root) as store:
        base = store.put(data[0], dtype="BF16", pack_class=WEIGHTS)
        store.append(Coded(name_of(data[1]), len(data[1]), encoded, base), "data", WEIGHTS)
        store.put(data[2], pack_class=WEIGHTS)
    return data


def test_a_delta_is_saved_with_its_base_and_waits_for_a_damaged_one(root: Path) -> None:
    data = commit_delta(root)
    (part,) = (root / "open").iterdir()
    flip(part, 3)
    with writing(root) as store:
        assert [store.read(name_of(each)) for each in data] == data
        assert store.base_of(name_of(data[1])) == name_of(data[0])
        found = store._index.find(name_of(data[0]))
    assert found is not None
    (part,) = (root / "open").iterdir()
    flip(part, found.entry.offset + 50)
    with writing(root) as store:
        assert [store.has(name_of(each)) for each in data] == [False, False, True]
        store.put(data[0], dtype="BF16", pack_class=WEIGHTS)
        store.commit()
        assert [store.read(name_of(each)) for each in data] == data


def test_records_are_saved_as_they_were(root: Path, tmp_path: Path) -> None:
    places = fill(root, tmp_path)
    old = (root / "open" / PART).read_bytes()
    flip(root / "open" / PART, places[0].entry.offset)
    with writing(root):
        pass
    (part,) = (root / "open").iterdir()
    records = old[places[1].entry.offset - len(encode_record(places[1].entry)) :]
    assert part.read_bytes().endswith(records)
