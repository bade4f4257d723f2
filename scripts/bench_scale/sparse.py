"""Makes a channel of sparse packs with their true hashes, and starts a seeder over a channel."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.records import ignore
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import PackHashes, plan_volumes
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.pack.hashes import PackHasher
from ptmtorrent.workflows.seed import seed
from tests.simulators.swarm import Shared, write_release

PACK_BYTES = 256 << 20
BLOCK_BYTES = 4 << 20


def make_sparse(channel: Path, count: int) -> None:
    """Write `count` packs of 256 MiB that hold their number and zeros, and the release of one volume of them."""
    (channel / "packs").mkdir(parents=True)
    with ThreadPoolExecutor(2) as threads:
        packs = tuple(threads.map(lambda number: _make_pack(channel, number), range(count)))
    (plan,) = plan_volumes(packs, [])
    write_release(Shared(channel=channel, packs=packs, v1=torrent_v1(plan)[0], v2=torrent_v2(plan)[0]))


def _make_pack(channel: Path, number: int) -> PackHashes:
    first, zeros = (number + 1).to_bytes(BLOCK_BYTES, "little"), bytes(BLOCK_BYTES)
    hasher = PackHasher()
    for at in range(0, PACK_BYTES, BLOCK_BYTES):
        hasher.update(zeros if at else first)
    hashes = hasher.finish("open")
    path = channel / pack_path(hashes.pack)
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(first[:8])
        file.truncate(PACK_BYTES)
    return hashes


def start_seeder(home: Path, channel: Path) -> None:
    """Seed `channel` until every pack can be asked for.

    Raises:
        PtmError: it cannot be seeded.
    """
    stop = Stop()
    seed(
        channel,
        listen=("127.0.0.1", 0),
        emit=ignore,
        stop=stop,
        ready=lambda _: stop.set(),
        known=Home(home).verified_files,
    )
