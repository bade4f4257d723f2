"""The program with short limits: PORTS SECONDS ARGUMENT... ; servers at PORTS (`1,2`) count as the open network."""

import sys
from urllib.parse import urlsplit

from ptmtorrent import http, network
from ptmtorrent.cli.main import main
from ptmtorrent.hubs.client import rate_limiter, session, ssrf
from ptmtorrent.hubs.git import adapter, process
from ptmtorrent.hubs.huggingface import xet
from ptmtorrent.network import Pace
from ptmtorrent.workflows.clone import list as listing

MAX_PAGES = 300

ports, seconds = {int(port) for port in sys.argv[1].split(",")}, float(sys.argv[2])
http.PACE = Pace(connect=seconds, silent=seconds, headers=seconds, window=seconds, least_rate=2000)
session.FIRST_WAIT_SECONDS = seconds / 30
session.MAX_REPLY_SECONDS = process.MAX_SECONDS = 4 * seconds
rate_limiter.MAX_WAIT_SECONDS = rate_limiter.MAX_WAIT_SECONDS if seconds > 30 else seconds
listing.MAX_PAGES = MAX_PAGES
xet.PACE = http.PACE
stalled = f"http.lowSpeedTime={process.STALL_SECONDS}"
process._SETTINGS = tuple(
    f"http.lowSpeedTime={max(1, round(seconds))}" if setting == stalled else setting for setting in process._SETTINGS
)
is_internal = network.is_internal


def is_inside(url: str) -> bool:
    """Return whether `url` is inside the network of this machine, but for the servers at `ports`."""
    try:
        parts = urlsplit(url)
        return parts.port not in ports and is_internal(url)
    except ValueError:
        return False


for module in (network, http, ssrf, adapter):
    module.is_internal = is_inside  # type: ignore[attr-defined]
sys.argv = ["ptmtorrent", *sys.argv[3:]]
sys.exit(main())
