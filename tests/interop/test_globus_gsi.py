"""The same, where GridFTP servers ask who comes: X.509 on the control channel, and data that travels encrypted."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptmtorrent.paths import Home
from tests.channels import RELEASE, check_laid_out, make_channel
from tests.program import ptmtorrent
from tests.simulators.globus.state import GUEST
from tests.simulators.globus.world import (
    MAINTAINER,
    MAINTAINERS,
    PUBLIC,
    USER,
    USERS,
    World,
    globus_world,
    require_programs,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    require_programs()
    with globus_world(secure=True) as world:
        yield world


def copy(world: World, name: str, credential: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Copy one file between the two servers; a credential that is not there is looked for nowhere else."""
    source = world.maintainer / "file"
    source.write_bytes(bytes(range(256)) * 4096)
    command = ["globus-url-copy", "-dcpriv", f"{world.homes.url}{source}", f"{world.site.url}{world.public / name}"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(world.root), **credential}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_file_moves_between_servers_that_know_who_asks(world: World) -> None:
    assert world.gsi is not None

    done = copy(world, "moved", world.gsi.client)

    assert done.returncode == 0, done.stderr
    assert (world.public / "moved").read_bytes() == (world.maintainer / "file").read_bytes()


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_who_has_no_credential_of_the_authority_moves_nothing(world: World, who: str) -> None:
    assert world.gsi is not None
    known = {"X509_CERT_DIR": world.gsi.client["X509_CERT_DIR"]}

    done = copy(world, who, world.gsi.stranger if who == "stranger" else known)

    assert done.returncode != 0
    target = world.public / who
    assert not target.exists()


def test_a_release_is_published_and_fetched(world: World) -> None:
    made = make_channel(world.maintainer)
    made.home.root.chmod(0o755)  # the account of the collection reads it
    public = world.state.collections[PUBLIC]
    public.entity_type = GUEST
    home, out = Home(world.user / "home"), world.user / "out"

    publisher = world.environment(MAINTAINER, MAINTAINERS)
    ptmtorrent(made.home.root, "publish", RELEASE, "--to", world.place, "--anyone", env=publisher)
    made.trusted_by(home, world.place)
    options = ("--transport", "globus", "--channel", world.place, "--to", out)
    ptmtorrent(home.root, "fetch", *made.packages, *options, env=world.environment(USER, USERS))

    check_laid_out(out, made.packages)
    assert [task.doc["faults"] for task in world.state.tasks.values()] == [0, 0, 0]
    assert not list(Path(world.user).glob(".ptm-incoming"))
