from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from ptmtorrent.channel import readers
from ptmtorrent.channel.readers import MAX_LISTED_BYTES, LocalReader, copy_listed, read_listed
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.ids import InfoHash
from ptmtorrent.model.release import FileRef, VolumeRef
from ptmtorrent.trust.keys import Keys
from tests.trust.channels import FolderReader, new_release, publish, shard


def test_a_listed_file_is_read_within_its_size(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    reader = FolderReader(channel)
    ref, data = shard()
    assert read_listed(reader, new_release("r1", 1), ref) == data
    assert reader.asked == [("releases/r1/index/content/0.json", ref.size)]


@pytest.mark.parametrize("served", [b"row", b"rowz", b"rows and more", b""])
def test_other_bytes_are_an_integrity_error(channel: Path, keys: Keys, served: bytes) -> None:
    publish(channel, keys, "r1", 1)
    ref, _ = shard()
    (channel / "releases" / "r1" / ref.path).write_bytes(served)
    with pytest.raises(IntegrityError, match=r"index/content/0\.json"):
        read_listed(FolderReader(channel), new_release("r1", 1), ref)


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_a_listed_file_is_copied_part_by_part(
    channel: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(readers, "COPY_BYTES", size)
    publish(channel, keys, "r1", 1)
    ref, data = shard()
    copy_listed(LocalReader(channel), new_release("r1", 1), ref, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("served", [b"row", b"rowz", b""])
def test_a_copy_of_other_bytes_is_an_integrity_error(channel: Path, keys: Keys, tmp_path: Path, served: bytes) -> None:
    publish(channel, keys, "r1", 1)
    ref, _ = shard()
    (channel / "releases" / "r1" / ref.path).write_bytes(served)
    with pytest.raises(IntegrityError):
        copy_listed(LocalReader(channel), new_release("r1", 1), ref, tmp_path / "copy")


def test_a_file_this_mirror_lacks_is_not_found(channel: Path, keys: Keys) -> None:
    publish(channel, keys, "r1", 1)
    ref = FileRef(path="index/content/7.json", size=1, blake3="0" * 64)
    with pytest.raises(NotFound):
        read_listed(FolderReader(channel), new_release("r1", 1), ref)


def test_an_implausible_size_is_refused_unread(channel: Path) -> None:
    reader = FolderReader(channel)
    ref = FileRef(path="tables/files.parquet", size=MAX_LISTED_BYTES + 1, blake3="0" * 64)
    with pytest.raises(IntegrityError, match="which exceeds"):
        read_listed(reader, new_release("r1", 1), ref)
    assert reader.asked == []


def test_torrents_lie_at_the_root_of_the_channel(channel: Path) -> None:
    data = b"d4:infod4:name5:packsee"
    torrent = FileRef(path="torrents/ab.torrent", size=len(data), blake3=blake3(data).hexdigest())
    (channel / "torrents").mkdir(parents=True)
    (channel / torrent.path).write_bytes(data)
    volume = VolumeRef(
        rights="open",
        level=0,
        packs=1,
        bytes=1,
        v1=InfoHash("a" * 40),
        v2=InfoHash("b" * 64),
        torrent_v1=torrent,
        torrent_v2=torrent,
    )
    release = msgspec.structs.replace(new_release("r1", 1), volumes=(volume,))
    assert read_listed(FolderReader(channel), release, torrent) == data
