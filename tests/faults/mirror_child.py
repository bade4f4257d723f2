"""The program with short limits: PORT SECONDS ARGUMENT... ; the server at PORT counts as the open network."""

import sys

from ptmtorrent import http, network
from ptmtorrent.channel import web_reader
from ptmtorrent.cli.main import main
from ptmtorrent.network import Pace

port, seconds = sys.argv[1], float(sys.argv[2])
http.PACE = Pace(connect=seconds, silent=seconds, headers=seconds, window=seconds, least_rate=2000)
web_reader.DOCUMENT_SECONDS = 4 * seconds
is_internal = network.is_internal
http.is_internal = lambda url: f":{port}/" not in url and is_internal(url)
sys.argv = ["ptmtorrent", *sys.argv[3:]]
sys.exit(main())
