"""Objects stored as deltas: which bases are found, what depends on them, and recovery after a crash."""

import os
from pathlib import Path

import numpy as np
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store import codecs
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from tests.store.samples import GATED, META, WEIGHTS, name_of, numbers, reading, safetensors, writing

RESTRICTED = PackClass("weights-hot", "restricted")
COLD = PackClass("weights-cold", "open")
WORDS = 60_000


def to_bf16(values: np.ndarray) -> bytes:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def weights(noise: float = 0.0, *, names: tuple[str, ...] = ("a", "b"), seed: int = 7) -> bytes:
    """A file of bf16 tensors; with `noise`, a fine-tune of the one without."""
    tensors = {}
    for number, name in enumerate(names):
        base = numbers(WORDS, seed + number)
        change = np.random.default_rng(99 + number).standard_normal(WORDS, dtype=np.float32) * np.float32(noise * 0.02)
        tensors[name] = ("BF16", [WORDS // 100, 100], to_bf16(base + change))
    return safetensors(tensors)


def add(
    store: Store, folder: Path, data: bytes, pack_class: PackClass = WEIGHTS, bases: tuple[StoredFile, ...] = ()
) -> StoredFile:
    path = folder / "incoming.safetensors"
    path.write_bytes(data)
    return store.add_file(path, "model.safetensors", Expected(len(data)), pack_class, bases=bases)


def deltas(store: Store, file: StoredFile) -> list[ObjectId]:
    return [identifier for identifier, _ in file.objects if store.base_of(identifier) is not None]


def content(store: Store, file: StoredFile) -> bytes:
    return b"".join(store.read(identifier) for identifier, _ in file.objects)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_declared_base_is_used_and_read_back(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        tuned = add(store, tmp_path, weights(0.002), bases=(base,))
        assert deltas(store, tuned) == [identifier for identifier, size in tuned.objects if size == 2 * WORDS]
        assert content(store, tuned) == weights(0.002)
        store.seal()
        assert content(store, tuned) == weights(0.002)
        stored = store.location(deltas(store, tuned)[0]).length
        assert stored * 5 < 2 * WORDS
    with reading(root) as store:
        assert content(store, tuned) == weights(0.002)


def test_an_undeclared_fine_tune_is_found_by_similarity(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        add(store, tmp_path, weights())
        store.seal()
    with writing(root) as store:
        tuned = add(store, tmp_path, weights(0.02, names=("other", "names")))
        assert len(deltas(store, tuned)) == 2
        assert content(store, tuned) == weights(0.02, names=("other", "names"))


def test_without_delta_every_object_stands_alone(root: Path, tmp_path: Path) -> None:
    with Store.open(root, write=True, delta=False) as store:
        base = add(store, tmp_path, weights())
        assert deltas(store, add(store, tmp_path, weights(0.002), bases=(base,))) == []


def test_unrelated_weights_are_not_stored_as_deltas(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        assert deltas(store, add(store, tmp_path, weights(seed=1000), bases=(base,))) == []


def test_a_delta_is_never_a_base(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        first = add(store, tmp_path, weights(0.002), bases=(base,))
        second = add(store, tmp_path, weights(0.003), bases=(first,))
        bases = {store.base_of(identifier) for identifier in deltas(store, second)}
        assert bases == {identifier for identifier, size in base.objects if size == 2 * WORDS}


def test_an_open_delta_never_needs_a_gated_base(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights(), GATED)
        assert deltas(store, add(store, tmp_path, weights(0.002), WEIGHTS, (base,))) == []
        assert len(deltas(store, add(store, tmp_path, weights(0.004), GATED, (base,)))) == 2


def test_what_is_stored_again_under_freer_rights_is_no_delta(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        free = add(store, tmp_path, weights(), WEIGHTS)
        strict = add(store, tmp_path, weights(0.002), RESTRICTED)
        assert len(deltas(store, strict)) == 2
        again = add(store, tmp_path, weights(0.002), WEIGHTS, (free,))
        assert deltas(store, again) == []
        assert content(store, again) == weights(0.002)


def test_a_base_of_another_class_is_durable_before_its_delta(root: Path, tmp_path: Path) -> None:
    """The base is in one part, the delta in another, which is sealed first."""
    with writing(root) as store:
        base = add(store, tmp_path, weights(), WEIGHTS)
        tuned = add(store, tmp_path, weights(0.002), COLD, (base,))
        assert len(deltas(store, tuned)) == 2
        writer = store._writer
        assert writer is not None
        (cold,) = (part for part in writer.parts if part.pack_class == COLD)
        writer.seal([cold])
        store._broken = True  # the process dies here: nothing more is committed
    with writing(root) as store:
        assert content(store, tuned) == weights(0.002)


def test_a_part_that_lost_a_base_takes_its_deltas_along_and_nothing_else(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        kept = store.put(b"kept" * 50, pack_class=COLD)
        base = add(store, tmp_path, weights(), WEIGHTS)
        tuned = add(store, tmp_path, weights(0.002), COLD, (base,))
        store.commit()
    part = root / "open" / "weights-hot-open.part"
    os.truncate(part, part.stat().st_size - 10)
    with writing(root) as store:
        lost = base.objects[-1][0]
        assert not store.has(lost)
        assert store.has(kept)
        assert store.known_file(f"blake3:{tuned.blake3}") is None
        for identifier, _ in tuned.objects:
            if store.has(identifier):
                assert name_of(store.read(identifier)) == identifier
        assert add(store, tmp_path, weights()) == base
        again = add(store, tmp_path, weights(0.002), COLD, (base,))
        assert content(store, again) == weights(0.002)


def test_a_damaged_base_is_an_error_that_names_it(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        (pack,) = store.seal()
        tuned = add(store, tmp_path, weights(0.002), bases=(base,))
        place = store.location(base.objects[1][0])
        with store.pack_file(pack).open("r+b") as file:
            file.seek(place.offset + place.length // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(IntegrityError, match=base.objects[1][0]):
            content(store, tuned)


def test_a_pack_of_a_base_that_went_away_takes_the_deltas_from_the_index(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        (pack,) = store.seal()
        tuned = add(store, tmp_path, weights(0.002), bases=(base,))
        store.seal()
        store.pack_file(pack).unlink()
    with writing(root) as store:
        assert not any(store.has(identifier) for identifier, size in tuned.objects if size == 2 * WORDS)
        again = add(store, tmp_path, weights(0.002))
        assert content(store, again) == weights(0.002)


def test_a_rebuilt_index_lists_bases(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        base = add(store, tmp_path, weights())
        tuned = add(store, tmp_path, weights(0.002), COLD, (base,))
        store.seal()
        before = {identifier: store.base_of(identifier) for identifier, _ in tuned.objects}
        store.rebuild_index()
        assert {identifier: store.base_of(identifier) for identifier, _ in tuned.objects} == before
        third = add(store, tmp_path, weights(0.004))
        assert len(deltas(store, third)) == 2
    for path in root.glob("index.sqlite*"):
        path.unlink()
    with writing(root) as store:
        assert {identifier: store.base_of(identifier) for identifier, _ in tuned.objects} == before


def test_an_adopted_pack_brings_only_deltas_whose_base_is_here(tmp_path: Path) -> None:
    with writing(tmp_path / "origin") as origin:
        base = add(origin, tmp_path, weights())
        (base_pack,) = origin.seal()
        tuned = add(origin, tmp_path, weights(0.002), bases=(base,))
        (tuned_pack,) = origin.seal()
        for order in ([tuned_pack], [base_pack, tuned_pack]):
            with writing(tmp_path / f"mirror{len(order)}") as mirror:
                for pack in order:
                    came = tmp_path / "came.pack"
                    came.write_bytes(origin.pack_file(pack).read_bytes())
                    mirror.adopt_pack(came, pack)
                known = [identifier for identifier in deltas(origin, tuned) if mirror.has(identifier)]
                assert len(known) == (0 if len(order) == 1 else 2)
                assert all(name_of(mirror.read(identifier)) == identifier for identifier in known)


def test_small_files_and_text_are_not_stored_as_deltas(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        first = add(store, tmp_path, b"{}" * 4000, META)
        second = add(store, tmp_path, b"{}" * 4000 + b" ", META, (first,))
        assert deltas(store, second) == []
        assert {"BF16", "F16", "F32"} == codecs.DELTA_DTYPES
