"""The disk a fetch asks for, and what it clears away of fetches that nobody finished."""

import os
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.elapsed import AGES_NAME
from ptmtorrent.http import new_client
from ptmtorrent.layouts.folders import PlainDir
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.plan import Extent, Plan, plan_moves, staging_path
from ptmtorrent.paths import Home
from ptmtorrent.reading.sources import Sources
from ptmtorrent.state.laid_out import Ledger, Neighbours
from ptmtorrent.transports.http import HttpTransport
from ptmtorrent.transports.local import LocalTransport
from ptmtorrent.transports.torrent.transport import TorrentTransport
from ptmtorrent.workflows.fetch.disk_space import STAGED_BYTES, STAGED_PACKS, disk_needed
from ptmtorrent.workflows.fetch.fetch import ABANDONED_AFTER, FetchRequest
from ptmtorrent.workflows.fetch.select import Selection
from tests.channels import NOW, check_laid_out, fetch_from, make_channel
from tests.model.generated import hex64
from tests.model.test_plan import PACK_BYTES, location

FRAGMENT_BYTES = 1000


def fragments(count: int) -> Plan:
    """A few bytes of each of `count` packs."""
    wanted = []
    for number in range(count):
        item = location(number, FRAGMENT_BYTES)
        at = msgspec.structs.replace(item.at, pack=PackId(hex64(str(number))))
        wanted.append(msgspec.structs.replace(item, at=at))
    return plan_moves(wanted, lambda _: False)


def staged(tmp_path: Path, packs: int, *names: str, keeps_packs: bool = False) -> int:
    with new_client() as client:
        known = {
            "here": LocalTransport(tmp_path),
            "swarm": TorrentTransport([]),
            "server": HttpTransport("http://127.0.0.1:1", client),
        }
        sources = Sources(**{name: known[name] for name in names}, keeps_packs=keeps_packs)  # type: ignore[arg-type]
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            wanted = Selection(PlainDir(tmp_path), Neighbours(ledger, folds=False))
            return disk_needed(wanted, fragments(packs), 0, sources).staged


def test_packs_that_are_read_in_place_take_no_room(tmp_path: Path) -> None:
    assert staged(tmp_path, 5, "here") == 0


def test_fragments_from_a_server_take_their_bytes(tmp_path: Path) -> None:
    assert staged(tmp_path, 5, "server") == 5 * FRAGMENT_BYTES


@pytest.mark.parametrize("names", [("server", "swarm"), ("here", "swarm"), ("swarm",)])
def test_with_a_swarm_whole_packs_are_counted_as_they_may_come_whole(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert staged(tmp_path, 5, *names) == 5 * PACK_BYTES


def test_no_more_is_counted_than_transports_stage_at_a_time(tmp_path: Path) -> None:
    assert staged(tmp_path, 500, "server", "swarm") == STAGED_BYTES + STAGED_PACKS * PACK_BYTES


def test_packs_that_are_kept_are_all_counted(tmp_path: Path) -> None:
    assert staged(tmp_path, 500, "here", keeps_packs=True) == 500 * FRAGMENT_BYTES


def test_only_what_nobody_wanted_for_long_is_cleared_away(tmp_path: Path) -> None:
    made, home = make_channel(tmp_path), Home(tmp_path / "home")
    made.trusted_by(home, str(made.folder))
    young, old = PackId(hex64("young")), PackId(hex64("old"))
    left = {}
    for pack in (young, old):
        extent = Extent(offset=0, length=10)
        left[pack] = {staging_path(home.incoming, pack, extent), home.incoming / pack_path(pack)}
        for path in left[pack]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
            os.utime(path, (0, (NOW - 2 * ABANDONED_AFTER).timestamp()))
    both = left[young] | left[old]

    def fetch_later(name: str, later: timedelta) -> set[Path]:
        fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / name), later=later)
        check_laid_out(tmp_path / name, made.packages)
        return {path for path in home.incoming.rglob("*") if path.is_file() and path.name not in {"lock", AGES_NAME}}

    fetch_from(made.folder, home, FetchRequest(subset="all", to=tmp_path / "dry", dry_run=True))
    assert fetch_later("first", timedelta(0)) == both
    assert fetch_later("second", timedelta(hours=1)) == both
    for path in left[young]:
        path.write_bytes(b"more than half")
    assert fetch_later("third", ABANDONED_AFTER - timedelta(hours=1)) == both
    assert fetch_later("fourth", ABANDONED_AFTER + timedelta(hours=1)) == left[young]
    assert fetch_later("fifth", 2 * ABANDONED_AFTER) == set()
    assert not (home.incoming / AGES_NAME).exists()
