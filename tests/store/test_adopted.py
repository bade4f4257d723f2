from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.pack import writer as pack_writer
from ptmtorrent.store.pack.format import PackInfo, encode_footer, encode_header
from ptmtorrent.store.pack.hashes import sidecar_in
from ptmtorrent.store.pack.reader import pack_in
from tests.store.samples import META, add_bytes, add_package, append, name_of, random_bytes, sha256_oid, whole, writing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_an_adopted_pack_adds_objects_but_no_captures(root: Path, tmp_path: Path) -> None:
    with writing(tmp_path / "other") as other:
        file = add_bytes(other, tmp_path, "a.bin", b"a" * 1000, META)
        add_package(other, "org/a", {"a.bin": file}, "2026-11-20T12:00:00Z")
        (pack,) = other.seal()
        came = tmp_path / "came.pack"
        came.write_bytes(other.pack_file(pack).read_bytes())
        hashes = other.pack_hashes(pack)
    with writing(root) as store:
        store.adopt_pack(came, pack)
        assert not came.exists()
        assert whole(store, file.objects) == b"a" * 1000
        assert store.pack_hashes(pack) == hashes
        for _ in range(2):
            assert store.captures() == []
            assert store.known_file(sha256_oid(b"a" * 1000)) is None
            store.rebuild_index()


@pytest.mark.parametrize("again", ["rebuilt", "hashed", "lost", "found"])
def test_an_adopted_pack_is_not_trusted_when_its_hashes_are_lost(root: Path, tmp_path: Path, again: str) -> None:
    with writing(tmp_path / "other") as other:
        file = add_bytes(other, tmp_path, "a.bin", b"a" * 1000, META)
        add_package(other, "org/a", {"a.bin": file}, "2026-11-20T12:00:00Z")
        (pack,) = other.seal()
        came = other.pack_file(pack)
    with writing(root) as store:
        own = add_bytes(store, tmp_path, "b.bin", b"b" * 1000, META)
        add_package(store, "org/b", {"b.bin": own}, "2026-11-20T12:00:00Z")
        (ours,) = store.seal()
        store.adopt_pack(came, pack)
        sidecar_in(root, pack).unlink()
        if again in {"rebuilt", "hashed"}:
            sidecar_in(root, ours).unlink()
        if again == "hashed":
            assert [store.pack_hashes(each).pack for each in (ours, pack)] == [ours, pack]
        store.rebuild_index()
    if again == "lost":
        for path in root.glob("index.sqlite*"):
            path.unlink()
    elif again == "found":
        aside = pack_in(root, pack).rename(tmp_path / "aside")
        with writing(root):
            pass
        aside.rename(pack_in(root, pack))
    with writing(root) as store:
        store.rebuild_index()
        assert whole(store, file.objects) == b"a" * 1000
        assert [each.package for each in store.captures()] == ["hf:org/b"]
        assert store.known_file(sha256_oid(b"a" * 1000)) is None
        assert store.known_file(sha256_oid(b"b" * 1000)) == own


def test_a_pack_that_does_not_match_its_name_is_not_adopted(root: Path, tmp_path: Path) -> None:
    with writing(root) as store:
        store.put(b"x" * 100, pack_class=META)
        (pack,) = store.seal()
        data = bytearray(store.pack_file(pack).read_bytes())
    data[-1] ^= 1
    came = tmp_path / "came.pack"
    came.write_bytes(data)
    with writing(tmp_path / "other") as store:
        with pytest.raises(IntegrityError, match="damaged"):
            store.adopt_pack(came, pack)
        assert came.exists()
        assert store.packs() == []


def test_bytes_of_the_right_name_that_are_not_a_pack_are_not_adopted(root: Path, tmp_path: Path) -> None:
    came = tmp_path / "came.pack"
    came.write_bytes(encode_header(META).ljust(4 << 20, b"\0"))
    with writing(root) as store:
        with pytest.raises(IntegrityError, match="trailer"):
            store.adopt_pack(came, PackId(name_of(came.read_bytes())))
        assert came.exists()
        assert store.has(store.put(b"still writing", pack_class=META))


@pytest.mark.parametrize("listed", [True, False])
def test_a_pack_that_claims_an_object_it_does_not_hold_is_not_adopted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, listed: bool
) -> None:
    data = random_bytes(1000)
    came = tmp_path / "came.pack"
    part = pack_writer.new_part(came, META)
    append(part, b"honest" * 9)
    append(part, data, payload=bytes(1000))
    if not listed:
        monkeypatch.setattr(
            "ptmtorrent.store.pack.writer.pack_format.encode_footer",
            lambda entries, *rest: encode_footer(entries[:-1], *rest),
        )
    pack = part.finish(PackInfo(libraries={}, parameters={})).pack
    with writing(root) as store:
        with pytest.raises(IntegrityError):
            store.adopt_pack(came, pack)
        assert came.exists()
        identifier = store.put(data, pack_class=META)
        store.rebuild_index()
        assert store.read(identifier) == data
