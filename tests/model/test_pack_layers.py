from typing import Any

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import bencode
from ptmtorrent.model.pack_layers import digest_of, layers_in
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import plan_volumes
from tests.simulators.swarm import Shared, share


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share(tmp_path_factory.mktemp("channel"), 1, 2, 3)


def test_layers_of_both_torrents_are_those_of_the_packs(shared: Shared) -> None:
    packs = sorted(shared.packs, key=lambda pack: pack.pack)
    assert [(found.pack, found.size, found.digest) for found in layers_in(shared.v1, shared.v2, name="x")] == [
        (pack.pack, pack.size, digest_of(pack)) for pack in packs
    ]


@pytest.mark.parametrize("changed", ["pieces_v1", "root_v2", "layer_v2"])
def test_every_hash_of_a_pack_changes_its_digest(shared: Shared, changed: str) -> None:
    pack = next(pack for pack in shared.packs if pack.layer_v2)
    other = msgspec.structs.replace(
        pack, **{changed: bytes([getattr(pack, changed)[0] ^ 1]) + getattr(pack, changed)[1:]}
    )
    assert digest_of(other) != digest_of(pack)


def test_torrents_of_different_packs_are_refused(shared: Shared) -> None:
    (fewer,) = plan_volumes(shared.packs[:2], [])
    with pytest.raises(IntegrityError, match="list different packs"):
        layers_in(shared.v1, torrent_v2(fewer)[0], name="x")
    with pytest.raises(IntegrityError, match="list different packs"):
        layers_in(torrent_v1(fewer)[0], shared.v2, name="x")


def test_a_missing_layer_is_refused(shared: Shared) -> None:
    whole = bencode.decode(shared.v2, name="x")
    assert isinstance(whole, dict)
    with pytest.raises(IntegrityError, match="lacks hashes"):
        layers_in(shared.v1, bencode.encode({**whole, b"piece layers": {}}), name="x")


@pytest.mark.parametrize("layers", [[], b"", 3])
def test_piece_layers_that_are_no_dictionary_are_refused(shared: Shared, layers: bencode.Value) -> None:
    whole = bencode.decode(shared.v2, name="x")
    assert isinstance(whole, dict)
    with pytest.raises(IntegrityError, match="`x` lacks hashes"):
        layers_in(shared.v1, bencode.encode({**whole, b"piece layers": layers}), name="x")


def test_a_layer_that_is_no_text_is_refused(shared: Shared) -> None:
    whole = bencode.decode(shared.v2, name="x")
    assert isinstance(whole, dict)
    assert isinstance(whole[b"piece layers"], dict)
    numbers: bencode.Value = dict.fromkeys(whole[b"piece layers"], 1)
    with pytest.raises(IntegrityError, match="`x` lacks hashes"):
        layers_in(shared.v1, bencode.encode({**whole, b"piece layers": numbers}), name="x")


def test_a_root_that_is_no_text_is_refused(shared: Shared) -> None:
    whole: Any = bencode.decode(shared.v2, name="x")
    folder = next(iter(whole[b"info"][b"file tree"].values()))
    next(iter(folder.values()))[b""][b"pieces root"] = 3
    with pytest.raises(IntegrityError, match="`x` lacks hashes"):
        layers_in(shared.v1, bencode.encode(whole), name="x")


@pytest.mark.parametrize("way", ["v1", "v2"])
def test_one_torrent_in_place_of_both_is_refused(shared: Shared, way: str) -> None:
    data = getattr(shared, way)
    with pytest.raises(IntegrityError, match="`x` lacks hashes"):
        layers_in(data, data, name="x")
