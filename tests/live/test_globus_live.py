"""The real Globus, for those who have an account: `pytest -m globus_live`, with the variables that a skip names.

A client with a secret, and a guest collection that shows the folder `PTMTORRENT_GLOBUS_HERE` names. A release is
published from there into `PTM_LIVE_PLACE`, an empty folder of a collection with HTTPS that the client may write to, and
fetched from it both ways. What it leaves there is yours to remove.
"""

import os
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from ptmtorrent.transports.globus.locations import parse_local_collection
from tests.channels import RELEASE, Made, check_laid_out, make_channel
from tests.program import environment, ptmtorrent

NEEDED = ("PTMTORRENT_GLOBUS_CLIENT_ID", "PTMTORRENT_GLOBUS_CLIENT_SECRET", "PTMTORRENT_GLOBUS_HERE", "PTM_LIVE_PLACE")

pytestmark = pytest.mark.globus_live


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"the real Globus was not asked for: set {', '.join(missing)}")
    return {name: os.environ[name] for name in NEEDED}


@pytest.fixture(scope="module")
def published(variables: dict[str, str]) -> tuple[Made, Path, str]:
    folder = parse_local_collection(variables["PTMTORRENT_GLOBUS_HERE"]).folder
    made = make_channel(folder)
    place = variables["PTM_LIVE_PLACE"]
    ptmtorrent(made.home.root, "publish", RELEASE, "--to", place, env=environment(**variables))
    return made, folder, place


def test_publishing_again_moves_nothing(published: tuple[Made, Path, str], variables: dict[str, str]) -> None:
    made, _, place = published
    events = ptmtorrent(made.home.root, "publish", RELEASE, "--to", place, env=environment(**variables))
    assert [event["status"] for event in events if event["type"] == "result"] == ["notneeded"]


@pytest.mark.parametrize("transport", ["http", "globus"])
def test_what_was_published_is_fetched(
    published: tuple[Made, Path, str], variables: dict[str, str], transport: str
) -> None:
    made, folder, place = published
    home, out = Home(folder / f"home-{transport}"), folder / f"out-{transport}"
    made.trusted_by(home, place)
    options = ("--transport", transport, "--channel", place, "--to", out)
    ptmtorrent(home.root, "fetch", *made.packages, *options, env=environment(**variables))
    check_laid_out(out, made.packages)
