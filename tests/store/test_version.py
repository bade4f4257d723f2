"""The version of a store is checked first, and an error about it names the next step."""

from pathlib import Path

import pytest

from ptmtorrent.errors import StoreError, UnsupportedFormat
from ptmtorrent.store.store import Store
from tests.store.samples import META, reading, writing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_newer_store_is_refused(root: Path) -> None:
    with writing(root):
        pass
    (root / "version.json").write_bytes(b'{"format":"ptmtorrent/store","requires":[],"version":4}')
    for write in (False, True):
        with pytest.raises(UnsupportedFormat, match="version 4"):
            Store.open(root, write=write)


def test_an_older_store_is_refused_and_the_next_command_is_named(root: Path) -> None:
    with writing(root):
        pass
    (root / "version.json").write_bytes(b'{"format":"ptmtorrent/store","requires":[],"version":2}')
    for write in (False, True):
        with pytest.raises(UnsupportedFormat, match="version 2") as caught:
            Store.open(root, write=write)
        assert caught.value.code == 23
        assert "ptmtorrent --home DIR clone HUB" in str(caught.value.hint)


@pytest.mark.parametrize("data", [None, b"{", b""])
def test_a_store_with_an_unreadable_version_names_the_next_step(root: Path, data: bytes | None) -> None:
    with writing(root) as store:
        identifier = store.put(b"kept", pack_class=META)
    path = root / "version.json"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StoreError, match=r"version\.json") as caught:
        Store.open(root)
    assert caught.value.code == 20
    assert caught.value.hint is not None
    assert "ptmtorrent store init" in caught.value.hint
    assert (f"remove `{path}`" in caught.value.hint) == (data is not None)
    path.unlink(missing_ok=True)
    with writing(root):
        pass
    with reading(root) as store:
        assert store.read(identifier) == b"kept"
