"""Other people's BitTorrent clients and web servers against our torrents, our seeder and our channel folder."""

import filecmp
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from ptmtorrent.errors import NoSource
from ptmtorrent.stop import Stop
from ptmtorrent.transports.port import Delivered, Failed
from ptmtorrent.transports.torrent.transport import TorrentTransport
from tests.simulators.nginx import free_port, nginx, wait_for_port
from tests.simulators.packs import request_of
from tests.simulators.swarm import Shared, seeding, share, write_release
from tests.simulators.tracker import tracker

pytestmark = pytest.mark.interop

DEADLINE_SECONDS = 60
ARIA2 = [
    "aria2c",
    "--no-conf",
    "--quiet",
    "--seed-time=0",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--interface=127.0.0.1",
    "--bt-tracker-interval=1",
    "--file-allocation=none",
]
QBITTORRENT = r"""
[LegalNotice]
Accepted=true
[BitTorrent]
Session\DHTEnabled=false
Session\LSDEnabled=false
Session\PeXEnabled=false
Session\Interface=lo
Session\InterfaceName=lo
Session\InterfaceAddress=127.0.0.1
Session\Port={port}
Session\MultiConnectionsPerIp=true
Session\BTProtocol=TCP
[Network]
PortForwardingEnabled=false
[Preferences]
Connection\ResolvePeerCountries=false
WebUI\Address=127.0.0.1
WebUI\Port={web}
WebUI\LocalHostAuth=false
"""


KIB = 1 << 10
VOLUMES = {
    "16KiB": (16 * KIB, (1, 2, 3, 255, 1)),
    "256KiB": (256 * KIB, (16, 17, 48, 255)),
    "4MiB": (4096 * KIB, (16, 17)),
}
"""A volume of each piece length: the packs are so many pieces long."""


@pytest.fixture(scope="module", params=VOLUMES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    unit, counts = VOLUMES[request.param]
    shared = share(tmp_path_factory.mktemp("channel"), *counts, unit=unit)
    write_release(shared)
    return shared


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def torrent_file(folder: Path, torrent: bytes) -> Path:
    path = folder / "volume.torrent"
    path.write_bytes(torrent)
    return path


def differences(left: Path, right: Path) -> list[str]:
    """What `diff -r` would name: files on one side only, or of other bytes."""
    seen = filecmp.dircmp(left, right, ignore=[], hide=[])
    _, unequal, unread = filecmp.cmpfiles(left, right, seen.common_files, shallow=False)
    below = [differences(left / name, right / name) for name in seen.common_dirs]
    return [*seen.left_only, *seen.right_only, *unequal, *unread, *(name for names in below for name in names)]


@pytest.mark.parametrize("starts", [1, 2])
def test_aria2_downloads_a_volume_from_our_seeder(shared: Shared, tmp_path: Path, starts: int) -> None:
    """A seeder that was started before believes its record of the packs and reads none of them."""
    need("aria2c")
    known = tmp_path / "known.sqlite"
    for _ in range(starts - 1):
        with seeding(shared.channel, known=known):
            pass
    with tracker() as (announce, _), seeding(shared.channel, [announce], known=known):
        done = subprocess.run(
            [
                *ARIA2,
                f"--bt-tracker={announce}",
                f"--listen-port={free_port()}",
                f"--dir={tmp_path}",
                str(torrent_file(tmp_path, shared.v1)),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert differences(shared.channel / "packs", tmp_path / "packs") == []


@contextmanager
def qbittorrent(profile: Path) -> Iterator[httpx2.Client]:
    """Run qBittorrent without a screen; yields a client of its API."""
    web = free_port()
    config = profile / "qBittorrent" / "config" / "qBittorrent.conf"
    config.parent.mkdir(parents=True)
    config.write_text(QBITTORRENT.format(port=free_port(), web=web))
    process = subprocess.Popen(
        ["qbittorrent-nox", f"--profile={profile}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(web, process)
        with httpx2.Client(base_url=f"http://127.0.0.1:{web}/api/v2/", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_qbittorrent_downloads_a_volume_from_our_seeder(shared: Shared, tmp_path: Path, version: str) -> None:
    need("qbittorrent-nox")
    out = tmp_path / "out"
    out.mkdir()
    torrent = torrent_file(tmp_path, getattr(shared, version)).read_bytes()

    with seeding(shared.channel) as port, qbittorrent(tmp_path / "profile") as api:
        api.post("torrents/add", files={"torrents": ("x.torrent", torrent)}, data={"savepath": str(out)})
        deadline = time.monotonic() + DEADLINE_SECONDS
        states: list[dict[str, object]] = []
        while time.monotonic() < deadline:
            states = api.get("torrents/info").json()
            if states and states[0]["progress"] == 1 and states[0]["state"] in {"stalledUP", "uploading"}:
                break
            if states and not states[0]["num_seeds"]:
                hashes = str(states[0]["hash"])
                api.post("torrents/addPeers", data={"hashes": hashes, "peers": f"127.0.0.1:{port}"})
            time.sleep(0.1)
        api.post("torrents/pause", data={"hashes": "all"})

    assert [state["progress"] for state in states] == [1]
    assert differences(shared.channel / "packs", out / "packs") == []


@pytest.mark.parametrize("closing", ["", "/"])
def test_the_channel_on_nginx_is_a_web_seed_for_us(shared: Shared, tmp_path: Path, closing: str) -> None:
    """Root name `packs` and paths `<2 hex>/<hash>.pack` below the channel's URL: BEP 19."""
    with nginx(shared.channel.parent) as url:
        web_seed = f"{url}/{shared.channel.name}{closing}"
        transport = TorrentTransport([shared.v1], web_seeds=[web_seed], profile="loopback")
        outcomes = list(transport.deliver([request_of(pack) for pack in shared.packs], tmp_path, Stop()))

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert sum(outcome.moved for outcome in outcomes if isinstance(outcome, Delivered)) == sum(
        pack.size for pack in shared.packs
    )
    assert differences(shared.channel / "packs", tmp_path / "packs") == []


def test_the_channel_on_nginx_is_a_web_seed_for_aria2(shared: Shared, tmp_path: Path) -> None:
    need("aria2c")
    with nginx(shared.channel.parent) as url:
        done = subprocess.run(
            [
                *ARIA2,
                f"--listen-port={free_port()}",
                f"--dir={tmp_path}",
                f"--torrent-file={torrent_file(tmp_path, shared.v1)}",
                f"{url}/{shared.channel.name}/",
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert differences(shared.channel / "packs", tmp_path / "packs") == []


def test_a_web_seed_that_has_nothing_is_named(shared: Shared, tmp_path: Path) -> None:
    with nginx(tmp_path) as url:
        transport = TorrentTransport([shared.v1], web_seeds=[url], profile="loopback", patience_seconds=2)
        (outcome,) = transport.deliver([request_of(shared.packs[0])], tmp_path / "out", Stop())

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, NoSource)
    assert f"`{url}/` (" in outcome.error.message
    assert "404" in outcome.error.message
