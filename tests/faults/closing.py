"""Fetch from a server that ends every connection after N bytes; count the requests, and the bytes that came twice."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from ptmtorrent.paths import Home
from ptmtorrent.workflows.fetch.fetch import FetchRequest
from tests.channels import Heard, check_laid_out, fetch_from, make_channel
from tests.simulators.static_server import serve

MIN_BYTES, MAX_BYTES = 20_000, 300_000_000
PIECE = 1 << 20
SHARE = 8
"""The package is this many times longer than what one connection sends."""


@dataclass(frozen=True)
class Outcome:
    """One fetch: the bytes after which each connection ends, those of the plan, and what the server sent."""

    closes: int
    planned: int
    sent: int
    twice: int
    requests: int
    seconds: float

    @property
    def holds(self) -> bool:
        return self.twice == 0 and self.sent == self.planned


def fetch_closing(root: Path, closes: int, *, seed: int = 1) -> Outcome:
    """Fetch a package of random bytes in one run, every file of the channel from connections of `closes` bytes."""
    size = min(max(MIN_BYTES, SHARE * closes), MAX_BYTES)
    source = random.Random(seed)
    pieces = [source.randbytes(min(PIECE, size - at)) for at in range(0, size, PIECE)]
    files = {"weights.bin": b"".join(pieces), "README.md": b"# random\n"}
    made = make_channel(root, {"hf:org/random": files})
    home = Home(root / "user")
    heard = Heard()
    with serve(made.folder) as server:
        server.close_after = closes
        made.trusted_by(home, server.url)
        began = time.monotonic()
        summary = fetch_from(server.url, home, FetchRequest(subset="all", to=root / "out"), emit=heard)
        seconds = time.monotonic() - began
    check_laid_out(root / "out", made.packages)
    assert summary.bytes_moved == server.pack_bytes
    return Outcome(
        closes=closes,
        planned=heard.plan.bytes_to_move,
        sent=server.pack_bytes,
        twice=_twice([(asked.path, asked.offset, asked.sent) for asked in server.asked]),
        requests=len(server.asked),
        seconds=seconds,
    )


def _twice(sent: list[tuple[str, int, int]]) -> int:
    """Return how many bytes of packs were sent again."""
    reached: dict[str, int] = {}
    again = 0
    for path, offset, length in sorted(each for each in sent if each[0].startswith("packs/")):
        again += min(length, max(0, reached.get(path, 0) - offset))
        reached[path] = max(reached.get(path, 0), offset + length)
    return again
