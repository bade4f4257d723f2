from pathlib import Path

import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.channel.readers import LocalReader
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.stop import Stop
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.port import Delivered, Failed
from tests.transports.requests import PIECE, parts, read_delivered, whole, write_pack


def test_packs_are_delivered_in_place(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, PIECE)
    [delivered] = LocalTransport(tmp_path).deliver([whole(pack, data)], tmp_path / "staging", Stop())
    assert isinstance(delivered, Delivered)
    assert (delivered.path, delivered.temporary) == (tmp_path / pack_path(pack), False)
    assert not (tmp_path / "staging").exists()


def test_each_extent_is_an_outcome(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, PIECE)
    request = parts(pack, data, (100, 50), (3000, 10))
    outcomes = list(LocalTransport(tmp_path).deliver([request], tmp_path, Stop()))
    assert [read_delivered(outcome) for outcome in outcomes if isinstance(outcome, Delivered)] == [
        data[100:150],
        data[3000:3010],
    ]


@pytest.mark.parametrize("change", [-1, 1])
def test_a_pack_of_another_size_fails_with_integrity(tmp_path: Path, change: int) -> None:
    pack, data = write_pack(tmp_path, PIECE)
    (tmp_path / pack_path(pack)).write_bytes((data + b"x")[: len(data) + change])
    [failed] = LocalTransport(tmp_path).deliver([whole(pack, data)], tmp_path, Stop())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, IntegrityError)


def test_nothing_is_delivered_once_stop_is_set(tmp_path: Path) -> None:
    pack, data = write_pack(tmp_path, PIECE)
    stop = Stop()
    stop.set()
    assert list(LocalTransport(tmp_path).deliver([whole(pack, data)], tmp_path, stop)) == []


def test_a_reader_never_leaves_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "channel").mkdir()
    with pytest.raises(IntegrityError, match="refused"):
        LocalReader(tmp_path / "channel").read("../secret", limit=100)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    with pytest.raises(NotFound, match="no file `metadata`"):
        LocalReader(tmp_path).read("metadata", limit=100)
