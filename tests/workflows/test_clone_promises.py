"""What is stored was checked against whatever its hub promised, the weaker hashes included."""

import hashlib
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.hubs.port import Described, HubFile, Listed
from ptmtorrent.model.manifest import Identity
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.download_queue import Transfer
from ptmtorrent.workflows.clone.plan import PackagePlan
from ptmtorrent.workflows.clone.store_queue import StoreQueue

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


def keep(folder: Path, oid: str) -> StoredFile:
    part = folder / "part"
    part.write_bytes(DATA)
    identity = Identity(hub="kaggle", name="a/x", commit="1")
    plan = PackagePlan(
        described=Described(identity=identity, listed=Listed(name="a/x"), answers=()), files=(), answers=()
    )
    file = HubFile(path="w.bin", size=len(DATA), oid=oid, source="archive")
    transfer = Transfer(key="w.bin", file=file, plan=plan, part=part, what="`w.bin`")
    with Store.open(folder / "store", write=True) as store, StoreQueue(store) as store_queue:
        store_queue.add(transfer, file, PackClass("meta", "open"), bases=(), nearby=lambda _: None)
        return store_queue.futures[0].result()


@pytest.mark.parametrize("oid", [f"md5:{MD5}", f"sha256-prefix:{SHA256[:8]}", f"sha256:{SHA256}"])
def test_file_is_stored_when_its_hash_is_the_one_promised(oid: str, tmp_path: Path) -> None:
    assert keep(tmp_path, oid).sha256 == SHA256


@pytest.mark.parametrize("oid", [f"md5:{'0' * 32}", "sha256-prefix:00000000", f"crc32:{SHA256[:8]}"])
def test_file_with_another_hash_or_one_nobody_knows_is_not_stored(oid: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"w\.bin"):
        keep(tmp_path, oid)
