"""A volume over random packs, and seeders of it on loopback."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import msgspec
from blake3 import blake3

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Emit, ignore
from ptmtorrent.model.release import FileRef, Release, Totals, VolumeRef, content_root, placement_root
from ptmtorrent.model.torrents import torrent_v1, torrent_v2
from ptmtorrent.model.volume import PackHashes, plan_volumes
from ptmtorrent.stop import Stop
from ptmtorrent.transports.torrent.seeder import Seeder
from ptmtorrent.transports.torrent.session import Address, TorrentSession
from ptmtorrent.workflows.seed import seed
from tests.simulators.packs import BLOCK_BYTES, make_pack

LOOPBACK = "127.0.0.1:0"
DEADLINE_LOOKS = 300
LAST_LOOKS = 5


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A channel folder with the packs of one volume, and the volume's two torrents."""

    channel: Path
    packs: tuple[PackHashes, ...]
    v1: bytes
    v2: bytes

    def path(self, pack: PackHashes) -> Path:
        return self.channel / pack_path(pack.pack)


def share(channel: Path, *counts: int, unit: int = BLOCK_BYTES) -> Shared:
    """Make a pack of each number of `unit`, all of one alignment; they stay in the order asked for."""
    packs = tuple(make_pack(channel, count, seed=number, unit=unit) for number, count in enumerate(counts))
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
            offering.poll(0.1)
        yield ("127.0.0.1", port), offering


@contextmanager
def dying_seeder(
    channel: Path, *, after: int, bytes_per_second: int = 40 << 20, sent: list[int] | None = None
) -> Iterator[Address]:
    """Seed all torrents of `channel` until `after` bytes were sent, then vanish; `sent` gets how many these were."""
    ready, leave, ports = Stop(), Stop(), []

    def run() -> None:
        with TorrentSession("loopback", LOOPBACK, seeding=True) as session:
            ports.append(session.port())
            offering, handles = Seeder(session, channel), []
            for path in channel.glob("torrents/*.torrent"):
                offer = offering.offer(path.read_bytes(), name=path.name, verified=True)
                handles.append(offer.handle)
                offer.handle.set_upload_limit(bytes_per_second)
            ready.set()
            while offering.payload().sent < after and not leave.is_set():
                offering.poll(0.02)
            if sent is not None:
                for handle in handles:
                    handle.pause()
                for _ in range(LAST_LOOKS):
                    offering.poll(0.1)
                sent.append(offering.payload().sent)

    thread = Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield "127.0.0.1", ports[0]
    finally:
        leave.set()
        thread.join(30)


def write_release(shared: Shared, name: str = "2026.11") -> None:
    """Write the two torrents, and a release that lists them and nothing else that is there."""
    (plan,) = plan_volumes(shared.packs, [])
    listed = []
    for torrent, infohash in (torrent_v1(plan), torrent_v2(plan)):
        path = f"torrents/{infohash}.torrent"
        (shared.channel / path).parent.mkdir(exist_ok=True)
        (shared.channel / path).write_bytes(torrent)
        listed.append(FileRef(path=path, size=len(torrent), blake3=blake3(torrent).hexdigest()))
    size = sum(pack.size for pack in shared.packs)
    volume = VolumeRef(
        rights="open",
        level=0,
        packs=len(shared.packs),
        bytes=size,
        v1=torrent_v1(plan)[1],
        v2=torrent_v2(plan)[1],
        torrent_v1=listed[0],
        torrent_v2=listed[1],
    )
    tree = FileRef(path=f"releases/{name}/index/tree.bin", size=1, blake3="0" * 64)
    release = Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=ReleaseName(name),
        sequence=1,
        created="2026-11-20T12:00:00Z",
        written_by="test",
        content_root=content_root(ReleaseName(name), "0" * 64, ()),
        placement_root=placement_root((), tree, (), (volume,)),
        members_root="0" * 64,
        runs=(),
        tree=tree,
        tables=(),
        subsets=(),
        volumes=(volume,),
        totals=Totals(packages=0, files=0, raw=0, stored=0, packs=len(shared.packs), packs_bytes=size),
    )
    path = shared.channel / "releases" / name / "release.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(canonical.encode(release))


@contextmanager
def seeding(
    channel: Path, trackers: Sequence[str] = (), emit: Emit = ignore, known: Path | None = None
) -> Iterator[int]:
    """Run the `seed` workflow in a thread; yields its port once it is ready."""
    stop, ready, ports = Stop(), Stop(), []
    failed: list[BaseException] = []

    def tell(port: int) -> None:
        ports.append(port)
        ready.set()

    def run() -> None:
        try:
            seed(channel, listen=("127.0.0.1", 0), emit=emit, stop=stop, ready=tell, trackers=trackers, known=known)
        except BaseException as error:  # noqa: BLE001  # raised again below
            failed.append(error)
        ready.set()

    thread = Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        if not ports:
            raise failed[0]
        yield ports[0]
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
