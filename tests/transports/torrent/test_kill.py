import pickle
import subprocess
import sys
from pathlib import Path

from ptmtorrent.channel.paths import pack_path
from tests.simulators.packs import BLOCK_BYTES, hash_pack, request_of
from tests.simulators.swarm import seeder, share

MAX_FETCHED_TWICE = 64 << 20

FETCH = """
import pickle
import sys
from pathlib import Path

from ptmtorrent.stop import Stop
from ptmtorrent.transports.torrent.transport import TorrentTransport

torrent, requests, staging, *ports = sys.argv[1:]
peers = [("127.0.0.1", int(port)) for port in ports]
wanted = pickle.loads(Path(requests).read_bytes())
for outcome in TorrentTransport([Path(torrent).read_bytes()], peers).deliver(wanted, Path(staging), Stop()):
    print(outcome.request.pack, outcome.moved, flush=True)
"""


def test_fetch_resumes_after_kill_and_moves_little_twice(tmp_path: Path) -> None:
    shared = share(tmp_path / "channel", 16, 16, 16)
    staging = tmp_path / "staging"
    (tmp_path / "v1.torrent").write_bytes(shared.v1)
    (tmp_path / "requests").write_bytes(pickle.dumps([request_of(pack) for pack in shared.packs]))
    total = sum(pack.size for pack in shared.packs)
    command = [sys.executable, "-c", FETCH, tmp_path / "v1.torrent", tmp_path / "requests", staging]

    with seeder(shared, bytes_per_second=200 << 20) as (address, offering):
        arguments = [*map(str, command), str(address[1])]
        first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        while offering.payload().sent < 24 * BLOCK_BYTES and first.poll() is None:
            offering.poll(0.02)
        first.kill()
        killed = first.wait()
        second = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        sent = offering.payload().sent

    moved = {pack: int(count) for pack, count in (line.split() for line in second.stdout.splitlines())}
    assert killed == -9
    assert second.returncode == 0, second.stderr
    assert moved.keys() == {pack.pack for pack in shared.packs}
    assert sum(moved.values()) < total
    assert sent - total <= MAX_FETCHED_TWICE
    assert all(hash_pack((staging / pack_path(pack.pack)).read_bytes()) == pack for pack in shared.packs)
