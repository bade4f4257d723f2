"""Runs of `publish` and `fetch` against the simulated Globus world, and what they left."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptmtorrent.paths import Home
from tests.channels import RELEASE, Made, check_laid_out
from tests.program import ptmtorrent
from tests.simulators.globus.world import (
    MAINTAINER,
    MAINTAINERS,
    USER,
    USERS,
    World,
)

EVERYBODY = {"id": "x", "path": "/", "permissions": "r", "principal": "", "principal_type": "anonymous"}
MEMBERS = {**EVERYBODY, "principal": USER, "principal_type": "identity"}
OPENLY, BY_NAME = [EVERYBODY], [MEMBERS]


def publish(
    world: World, made: Made, *more: str, name: str = RELEASE, code: int = 0, **variables: str
) -> list[dict[str, Any]]:
    env = world.environment(MAINTAINER, MAINTAINERS, **variables)
    return ptmtorrent(made.home.root, "publish", name, "--to", world.place, *more, code=code, env=env)


def put(world: World, made: Made) -> None:
    """Publish without Globus."""
    shutil.copytree(made.folder, world.channel)
    for folder in (world.channel, *(path for path in world.channel.rglob("*") if path.is_dir())):
        folder.chmod(0o777)


def user_home(world: World, made: Made, location: str) -> Home:
    home = Home(world.user / "home")
    made.trusted_by(home, location)
    return home


def fetch(
    world: World,
    made: Made,
    *,
    client: str | None = USER,
    location: str | None = None,
    transport: str = "globus",
    packages: Sequence[str] = (),
    code: int = 0,
    **variables: str,
) -> list[dict[str, Any]]:
    place = location or world.place_with_host
    home = user_home(world, made, place)
    env = world.environment(client, USERS if client else None, **variables)
    options = ("--transport", transport, "--channel", place, "--to", world.user / "out")
    return ptmtorrent(home.root, "fetch", *(packages or made.packages), *options, code=code, env=env)


def laid_out_right(world: World, made: Made) -> None:
    check_laid_out(world.user / "out", made.packages)


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(event for event in events if event["type"] == "error")


def jobs(home: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((home / "globus" / "jobs").glob("*.json"))]


def states(home: Path) -> list[str]:
    return [job["state"] for job in jobs(home)]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ptm-staging" not in path.parts
    }
