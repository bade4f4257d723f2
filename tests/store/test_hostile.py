"""Untrusted input: packages and packs made to slow, mislead or fill a store."""

import errno
import os
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from ptmtorrent.errors import IntegrityError, NoSpace, StoreError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.store import codecs
from ptmtorrent.store.index import Found, open_index
from ptmtorrent.store.ingest.writer import Pending
from ptmtorrent.store.pack import writer as pack_writer
from ptmtorrent.store.pack.format import (
    RECORD_BYTES,
    TRAILER_BYTES,
    Entry,
    PackClass,
    PackInfo,
    decode_footer,
    encode_footer,
)
from ptmtorrent.store.pack.writer import Part
from ptmtorrent.store.store import Store
from tests.store.samples import GATED, WEIGHTS, append, bf16, name_of, random_bytes, writing

INFO = PackInfo(libraries={}, parameters={})
WORDS = 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def names(count: int) -> list[ObjectId]:
    return [ObjectId(blake3(number.to_bytes(4, "little")).hexdigest()) for number in range(count)]


def entry(identifier: ObjectId, number: int) -> Entry:
    return Entry(id=identifier, offset=100 * number, stored=10, raw=10, codec=0, kind="data")


def test_a_million_similar_objects_are_not_all_examined(tmp_path: Path) -> None:
    index = open_index(tmp_path / "index.sqlite", write=True)
    steps = []
    for count in (200, 20_000):
        with index.transaction():
            row = index.row_of_part("x.part", "open")
            index.add_objects(row, [entry(identifier, at) for at, identifier in enumerate(names(count))])
            for key in (1, 2, 3, 4):
                index.add_sketches(key, names(count))
        ticks: list[None] = []
        index._connection.set_progress_handler(lambda: ticks.append(None), 1)  # noqa: B023  # read at once
        assert len(index.similar_objects((1, 2, 3, 4), 2)) == 2
        index._connection.set_progress_handler(None, 1)
        steps.append(len(ticks))
    index.close()
    assert steps[1] < 2 * steps[0]


def test_removed_objects_hide_no_similar_object(tmp_path: Path) -> None:
    index = open_index(tmp_path / "index.sqlite", write=True)
    gone, here = names(40)[:39], names(40)[39]
    with index.transaction():
        index.add_objects(index.row_of_part("x.part", "open"), [entry(here, 0)])
        index.add_sketches(1, [*gone, here])
    assert index.similar_objects((1,), 2) == [here]
    with index.transaction():
        index.drop_unused_sketches()
    assert index._run("SELECT count(*) FROM sketches") == [(1,)]
    index.close()


def test_the_newest_similar_objects_are_found_among_the_uncommitted() -> None:
    pending = Pending()
    for number, identifier in enumerate(names(1000)):
        found = Found(entry=entry(identifier, number), rights="open", pack=None, part="x.part", size=0)
        pending.add_object(found, (7, number))
    assert pending.similar_objects((7, 3), 2) == [names(1000)[-1], names(1000)[-2]]
    assert pending.similar_objects((3, 8), 2) == [names(1000)[3], names(1000)[8]]
    assert pending.similar_objects((-1,), 2) == []


def test_a_part_whose_sync_failed_for_want_of_space_is_not_synced_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed `fsync` the next one succeeds although the bytes are lost."""
    real = os.fsync

    def full_once(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".part":
            monkeypatch.setattr(os, "fsync", real)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with writing(root) as store:
        identifier = store.put(random_bytes(5000), pack_class=WEIGHTS)
        monkeypatch.setattr(os, "fsync", full_once)
        with pytest.raises(NoSpace):
            store.commit()
        with pytest.raises(StoreError, match="earlier write"):
            store.commit()
        assert store._index.find(identifier) is None


def changed(data: bytes, seed: int) -> bytes:
    words = np.frombuffer(data, "<u2") + np.random.default_rng(seed).integers(0, 3, len(data) // 2, dtype=np.uint16)
    return words.astype("<u2").tobytes()


def append_delta(part: Part, data: bytes, base: bytes, payload: bytes | None = None) -> ObjectId:
    encoded = codecs.encode_delta(data, base, "BF16")
    assert encoded is not None
    stored = b"".join(encoded.chunks) if payload is None else payload
    draft = Entry(
        id=name_of(data),
        offset=0,
        stored=len(stored),
        raw=len(data),
        codec=encoded.codec,
        kind="data",
        base=name_of(base),
    )
    return part.append(draft, [stored]).id


def adopt(store: Store, path: Path, deltas: list[tuple[bytes, bytes]], payload: bytes | None = None) -> list[ObjectId]:
    """Adopt a pack of deltas `(object, base)`; return their ids."""
    part = pack_writer.new_part(path, PackClass("weights-hot", "open"))
    append(part, b"not empty" * 9)
    identifiers = [append_delta(part, data, base, payload) for data, base in deltas]
    store.adopt_pack(path, part.finish(INFO).pack)
    return identifiers


def test_packs_with_bases_in_each_other_bring_no_delta_of_a_delta(root: Path, tmp_path: Path) -> None:
    chain = [bf16(WORDS)]
    for seed in range(4):
        chain.append(changed(chain[-1], seed))
    with writing(root) as store:
        store.put(chain[0], dtype="BF16", pack_class=WEIGHTS)
        store.seal()
        for base, data in pairwise(chain):
            (identifier,) = adopt(store, tmp_path / "came.pack", [(data, base)])
            assert store.has(identifier) == (base is chain[0])
        for data in chain[1:]:
            assert store.read(store.put(data, dtype="BF16", pack_class=WEIGHTS)) == data


def test_an_adopted_delta_that_could_not_be_checked_is_checked_when_its_base_came(root: Path, tmp_path: Path) -> None:
    base, victim = bf16(WORDS), changed(bf16(WORDS), 1)
    encoded = codecs.encode_delta(changed(base, 2), base, "BF16")
    assert encoded is not None
    with writing(root) as store:
        forged, honest = victim, changed(base, 3)
        adopt(store, tmp_path / "came.pack", [(forged, base)], b"".join(encoded.chunks))
        adopt(store, tmp_path / "came.pack", [(honest, base)])
        store.put(base, dtype="BF16", pack_class=WEIGHTS)
        store.seal()
        store.rebuild_index()
        assert not store.has(name_of(forged))
        assert store.read(name_of(honest)) == honest


def test_an_adopted_open_delta_has_no_gated_base(root: Path, tmp_path: Path) -> None:
    base, data = bf16(WORDS), changed(bf16(WORDS), 1)
    with writing(root) as store:
        store.put(base, dtype="BF16", pack_class=GATED)
        store.seal()
        adopt(store, tmp_path / "came.pack", [(data, base)])
        assert not store.has(name_of(data))
        assert store.read(store.put(data, dtype="BF16", pack_class=WEIGHTS)) == data
        store.commit()
        assert store.read(name_of(data)) == data
        assert store.base_of(name_of(data)) is None


def test_rows_of_deltas_without_a_base_stay_and_are_replaceable(tmp_path: Path) -> None:
    first, second, third, other = names(4)

    def lies(identifier: ObjectId, base: ObjectId | None = None, at: int = 0) -> Entry:
        return Entry(id=identifier, offset=at, stored=1, raw=1, codec=7 if base else 0, kind="data", base=base)

    index = open_index(tmp_path / "index.sqlite", write=True)
    with index.transaction():
        row = index.row_of_part("x.part", "open")
        index.add_objects(row, [lies(second, first), lies(third, second), lies(other, other)])
        assert not any(map(index.find, names(4)))
        index.add_objects(row, [lies(first)])
        assert index.find(second) is not None
        assert index.find(third) is None
        index.add_objects(row, [lies(third, first, 7), lies(second, third, 7)])
        assert index.find(third) is not None
        assert [index.find(each).entry.offset for each in (second, third)] == [0, 7]  # type: ignore[union-attr]
    index.close()


def test_a_pack_with_an_excessive_raw_size_is_refused_unread(root: Path, tmp_path: Path) -> None:
    came = tmp_path / "came.pack"
    part = pack_writer.new_part(came, WEIGHTS)
    for identifier in names(30):  # the stored bytes are never read
        part.append(Entry(id=identifier, offset=0, stored=9, raw=64 << 20, codec=1, kind="data"), [bytes(9)])
    pack = part.finish(INFO).pack
    with writing(root) as store, pytest.raises(IntegrityError, match="would unpack to"):
        store.adopt_pack(came, pack)
    assert came.exists()


def test_a_footer_lists_no_more_objects_than_fit_before_it() -> None:
    entries = [Entry(id=identifier, offset=0, stored=0, raw=0, codec=0, kind="data") for identifier in names(100)]
    for offset in (100 * RECORD_BYTES, 100 * RECORD_BYTES - 1):
        data = encode_footer(entries, INFO, offset)
        footer = data[:-TRAILER_BYTES]
        if offset % RECORD_BYTES == 0:
            assert len(decode_footer(footer, zlib.crc32(footer), offset, "x")) == 100
        else:
            with pytest.raises(IntegrityError, match="more objects than fit"):
                decode_footer(footer, zlib.crc32(footer), offset, "x")
