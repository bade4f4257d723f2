"""A release is retired from a Globus collection: the list first, then what only it needs."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.state.publications import places_of
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import load_keys
from ptmtorrent.workflows.release.release import release
from tests.channels import RELEASE, Made, capture, clock, make_channel
from tests.interop.globus_runs import error_of, fetch, laid_out_right, publish, tree
from tests.program import ptmtorrent
from tests.simulators.globus.state import Fault
from tests.simulators.globus.world import MAINTAINER, MAINTAINERS, World

pytestmark = pytest.mark.interop

SECOND = ReleaseName("2026.12")


@pytest.fixture
def two(world: World) -> Iterator[Made]:
    """A home with two releases, both published; the second has a package more."""
    root = world.maintainer / "two"
    root.mkdir()
    made = make_channel(root, {"hf:org/first": {"weights.bin": b"first" * 9000}})
    made.home.root.chmod(0o755)
    made.home.root.parent.chmod(0o755)
    publish(world, made)
    with Store.open(made.home.store, write=True) as store:
        capture(store, root, "hf:org/second", {"weights.bin": b"second" * 9000})
    release(SECOND, made.home, load_keys(made.home.keys, lambda: None), clock=clock, emit=ignore)
    publish(world, made, name=SECOND)
    yield made
    shutil.rmtree(root)


class TestRetiring:
    def retire(self, world: World, made: Made, *more: str, code: int = 0) -> list[dict[str, Any]]:
        env = world.environment(MAINTAINER, MAINTAINERS)
        return ptmtorrent(made.home.root, "publish", "--retire", SECOND, "--to", world.place, *more, code=code, env=env)

    def test_the_list_goes_first_and_the_files_that_no_release_needs_after_it(self, world: World, two: Made) -> None:
        held = tree(world.channel)
        world.state.asked.clear()

        self.retire(world, two)

        now = tree(world.channel)
        gone = {path for path in held.keys() - now.keys() if not path.startswith(f"releases/{SECOND}/")}
        assert not [path for path in now if path.startswith(f"releases/{SECOND}/")]
        assert {path.split("/")[0] for path in gone} == {"packs", "torrents"}
        asked = [request for request, _ in world.state.asked]
        renames = [number for number, request in enumerate(asked) if request.endswith("/rename")]
        assert asked.index("POST /v0.10/delete") > max(renames), "the pointer had moved before anything was deleted"
        fetch(world, two)
        laid_out_right(world, two)
        assert places_of(two.home.publications, SECOND) == []

    def test_a_dry_run_changes_nothing(self, world: World, two: Made) -> None:
        held = tree(world.channel)
        self.retire(world, two, "--dry-run")
        assert tree(world.channel) == held

    def test_a_deletion_that_failed_is_asked_for_again(self, world: World, two: Made) -> None:
        world.state.faults.append(Fault(on="POST /v0.10/delete", status=403, code="PermissionDenied"))
        self.retire(world, two, code=11)
        fetch(world, two)

        self.retire(world, two)

        assert not (world.channel / f"releases/{SECOND}").exists()
        assert {path.stem for path in world.channel.rglob("*.pack")} == packs_of_first(two)
        assert "lists no release" in error_of(self.retire(world, two, code=12))["message"]

    def test_what_the_place_lost_of_another_release_is_put_there_again(self, world: World, two: Made) -> None:
        lost = world.channel / f"releases/{RELEASE}/index/rows.bin"
        data = lost.read_bytes()
        lost.unlink()

        self.retire(world, two)

        assert lost.read_bytes() == data
        fetch(world, two)


def packs_of_first(made: Made) -> set[str]:
    return {pack for volume in made.release.volumes for pack, _ in read_volume_packs(made.folder, made.release, volume)}
