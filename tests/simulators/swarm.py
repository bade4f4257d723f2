"""A volume over random packs, and seeders of it on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import PackHashes, pack_path, plan_volumes
from ptmtorrent.transports.torrent_seeder import Seeder
from ptmtorrent.transports.torrent_session import Address, TorrentSession
from tests.simulators.packs import make_pack

LOOPBACK = "127.0.0.1:0"
DEADLINE_LOOKS = 300


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A channel folder with the packs of one volume, and the volume's two torrents."""

    channel: Path
    packs: tuple[PackHashes, ...]
    v1: bytes
    v2: bytes

    def path(self, pack: PackHashes) -> Path:
        return self.channel / pack_path(pack.pack)


def share(channel: Path, *pieces: int) -> Shared:
    """Make a pack of each number of pieces; they stay in the order asked for."""
    packs = tuple(make_pack(channel, count, seed=number) for number, count in enumerate(pieces))
    (plan,) = plan_volumes(packs, [])
    return Shared(channel=channel, packs=packs, v1=torrent_v1(plan)[0], v2=torrent_v2(plan)[0])


def flip(path: Path, at: int) -> None:
    """Flip a bit of the byte at `at`, in place."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@contextmanager
def seeder(shared: Shared, *, verified: bool = True, bytes_per_second: int = 0) -> Iterator[tuple[Address, Seeder]]:
    """Seed both torrents; yields where, once every pack can be asked for."""
    with TorrentSession("loopback", LOOPBACK, seeding=True) as session:
        port = session.port()
        offering = Seeder(session, shared.channel)
        for name, torrent in (("v1", shared.v1), ("v2", shared.v2)):
            offer = offering.offer(torrent, name=name, verified=verified)
            # The session-wide limit does not hold on loopback, a torrent's own does.
            offer.handle.set_upload_limit(bytes_per_second)
        for _ in range(DEADLINE_LOOKS):
            if not offering.checking:
                break
            offering.attend(0.1)
        yield ("127.0.0.1", port), offering
