import shutil
from pathlib import Path

import pytest

from ptmtorrent.errors import IntegrityError
from ptmtorrent.transports.torrent.seeder import Seeder
from ptmtorrent.transports.torrent.session import TorrentSession
from tests.simulators.swarm import DEADLINE_LOOKS, LOOPBACK, Shared, flip, share


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return share(tmp_path / "channel", 1, 2, 1)


def sentences_of(shared: Shared, *, verified: bool = False) -> tuple[list[str], list[frozenset[str]]]:
    """Offer both torrents, wait until they are checked, and return the warnings and the missing packs."""
    with TorrentSession("loopback", LOOPBACK, seeding=True) as session:
        session.port()
        seeder = Seeder(session, shared.channel)
        offers = [seeder.offer(torrent, name="x", verified=verified) for torrent in (shared.v1, shared.v2)]
        said: list[str] = []
        for _ in range(DEADLINE_LOOKS):
            if not seeder.checking:
                break
            said += seeder.poll(0.1)
        return said, [frozenset(map(str, offer.missing)) for offer in offers]


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verified", [True, False])
def test_whole_packs_are_offered_without_warnings(shared: Shared, verified: bool) -> None:
    assert sentences_of(shared, verified=verified) == ([], [frozenset(), frozenset()])


@pytest.mark.parametrize("verified", [True, False])
def test_a_missing_pack_is_reported_and_nothing_is_written(shared: Shared, verified: bool) -> None:
    gone, short = shared.packs[0], shared.packs[1]
    shutil.rmtree(shared.path(gone).parent)
    shared.path(short).write_bytes(b"too short")
    before = everything_in(shared.channel)

    said, missing = sentences_of(shared, verified=verified)

    assert missing == [frozenset({gone.pack, short.pack})] * 2
    assert said == []
    assert everything_in(shared.channel) == before


def test_a_damaged_pack_is_named_once(shared: Shared) -> None:
    flip(shared.path(shared.packs[1]), 77)

    said, _ = sentences_of(shared)

    assert said == [f"the pack `{shared.packs[1].pack}` is damaged: some of its pieces are not offered"]


def test_a_torrent_that_is_not_a_volume_is_refused(shared: Shared) -> None:
    with TorrentSession("loopback", LOOPBACK, seeding=True) as session, pytest.raises(IntegrityError, match="`x`"):
        Seeder(session, shared.channel).offer(shared.v1[:-2], name="x")
