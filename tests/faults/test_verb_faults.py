"""Faults under the verbs of a maintainer: one that ends with 0 leaves what readers can fetch, any other what they got.

Readers are a stock TUF client and our `fetch` in another home, over HTTP, with what both remember of earlier visits.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from blake3 import blake3

from ptmtorrent.channel.folder import read_release, read_volume_packs
from ptmtorrent.channel.paths import TIMESTAMP, pack_path
from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ReleaseName
from tests.faults.maintained import A, B, C, D, World, contents
from tests.static import serve_folder

Fault = Callable[[World], object]
MEMORY = "/dev/shm"  # noqa: S108  # a disk that no sync waits for; the folder in it has a random name
YEARS = timedelta(days=730)

VERBS: dict[str, tuple[str, frozenset[ReleaseName], Callable[[World], None]]] = {
    "release": ("home", frozenset((A, B, C, D)), World.release),
    "renew": ("home", frozenset((A, B, C)), World.renew),
    "delete": ("home", frozenset((A, B)), World.delete),
    "publish": ("to", frozenset((A, B, C)), World.publish),
    "again": ("to", frozenset((A, B)), lambda world: world.publish(B)),
    "retire": ("to", frozenset((A,)), World.retire),
    "renew-place": ("to", frozenset((A, B)), World.renew_place),
}
"""Each verb: what it serves, the releases that are listed after it, and what it does."""


def packs_of(world: World, name: ReleaseName, *but: ReleaseName) -> list[str]:
    """The paths of the packs that the release `name` needs and none of `but` does."""

    def packs(each: ReleaseName) -> set[str]:
        _, release = read_release(world.home.channel, each)
        return {
            pack_path(pack)
            for one in release.volumes
            for pack, _ in read_volume_packs(world.home.channel, release, one)
        }

    return sorted(packs(name) - {path for each in but for path in packs(each)})


def replace(path: Path, data: bytes) -> None:
    """Put other bytes at `path`; files it was linked to keep theirs."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = slice(min(64, len(data) // 2), min(3000, len(data)))
    data[middle] = bytes(byte ^ 1 for byte in data[middle])
    replace(path, bytes(data))


def truncate(path: Path) -> None:
    replace(path, path.read_bytes()[:-4096])


def at_home(path: str, harm: Callable[[Path], object]) -> Fault:
    return lambda world: _each(world.home.channel, path, harm)


def home_torrent(version: str) -> Fault:
    """Delete a torrent at home, of the volume that only the newest release has."""

    def fault(world: World) -> None:
        older, newest = (read_release(world.home.channel, name)[1].volumes for name in (B, C))
        [volume] = set(newest) - set(older)
        (world.home.channel / getattr(volume, version).path).unlink()

    return fault


def at_place(path: str, harm: Callable[[Path], object]) -> Fault:
    return lambda world: _each(world.to, path, harm)


def _each(folder: Path, path: str, harm: Callable[[Path], object]) -> None:
    found = max(folder.glob(path))
    harm(found)


def home_packs(name: ReleaseName, *but: ReleaseName, harm: Callable[[Path], object]) -> Fault:
    """Harm the packs at home that the release `name` needs and none of `but` does."""

    def act(world: World) -> None:
        for path in packs_of(world, name, *but):
            harm(world.home.channel / path)

    return act


def place_packs(harm: Callable[[Path], object]) -> Fault:
    def act(world: World) -> None:
        for path in packs_of(world, A):
            harm(world.to / path)

    return act


def rot(world: World) -> None:
    """Flip bytes of packs under every name that they have; the files that cases share are left alone."""
    for path in packs_of(world, A):
        file = world.home.channel / path
        names = [each for each in world.case.rglob(file.name) if each.samefile(file)]
        flip(file)
        for each in names:
            if each != file:
                each.unlink()
                os.link(file, each)


def older(world: World) -> None:
    shutil.rmtree(world.to)
    world.older.rename(world.to)


def nothing(_: World) -> None:
    """Do no harm."""


def skewed(by: timedelta) -> Fault:
    def act(world: World) -> None:
        world.skew = by

    return act


def later(by: timedelta) -> Fault:
    def act(world: World) -> None:
        world.now += by

    return act


def without_key(name: str) -> Fault:
    return lambda world: [path.unlink() for path in world.home.keys.glob(name)]


LESS = {
    ("place release.json missing", "publish"): frozenset((A,)),
    ("place release.json missing", "again"): frozenset((A,)),
    ("place release.json missing", "renew-place"): frozenset((A,)),
    ("place older", "publish"): frozenset((B,)),
}
"""Releases that the place did not have any more, so that it does not list them."""
ALL, PLACE, HOME = " ".join(VERBS), "publish again retire renew-place", "release renew delete"
LISTED = "index/rows.bin"

FAULTS: dict[str, tuple[Fault, str, str]] = {
    "none": (nothing, ALL, "0 0 0 0 0 0 0"),
    "home pack missing": (home_packs(A, harm=Path.unlink), ALL, "0 12 12 0 0 0 12"),
    "home pack flipped": (home_packs(A, harm=flip), ALL, "50 50 50 0 0 0 50"),
    "home pack truncated": (home_packs(A, harm=truncate), HOME, "0 50 50"),
    "home new pack missing": (home_packs(C, B, harm=Path.unlink), "renew delete publish again", "12 0 50 0"),
    "home new pack flipped": (home_packs(C, B, harm=flip), "release delete publish retire", "50 0 50 0"),
    "home new pack truncated": (home_packs(C, B, harm=truncate), "release publish", "0 50"),
    "pack flipped under all names": (rot, ALL, "50 50 50 50 50 50 50"),
    "home listed file missing": (at_home(f"releases/b/{LISTED}", Path.unlink), ALL, "12 12 12 0 0 0 12"),
    "home listed file flipped": (at_home(f"releases/b/{LISTED}", flip), "release renew delete again", "50 50 50 0"),
    "home new listed file missing": (at_home(f"releases/c/{LISTED}", Path.unlink), "renew delete publish", "12 0 50"),
    "home new listed file flipped": (at_home(f"releases/c/{LISTED}", flip), "renew delete publish", "50 0 50"),
    "home release.json missing": (at_home("releases/b/release.json", Path.unlink), ALL, "12 12 12 50 12 0 12"),
    "home torrent v1 missing": (home_torrent("torrent_v1"), ALL, "50 12 0 50 0 0 12"),
    "home torrent v2 missing": (home_torrent("torrent_v2"), ALL, "0 12 0 50 0 0 12"),
    "home targets flipped": (at_home("metadata/*.targets.json", flip), ALL, "60 60 60 50 50 50 60"),
    "place pack missing": (place_packs(Path.unlink), PLACE, "0 0 12 0"),
    "place pack flipped": (place_packs(flip), PLACE, "0 0 50 0"),
    "place pack truncated": (place_packs(truncate), PLACE, "0 0 50 0"),
    "place listed file missing": (at_place(f"releases/a/{LISTED}", Path.unlink), PLACE, "0 0 12 0"),
    "place listed file flipped": (at_place(f"releases/a/{LISTED}", flip), PLACE, "0 0 50 0"),
    "place release.json missing": (at_place("releases/a/release.json", Path.unlink), PLACE, "0 0 2 0"),
    "place release.json flipped": (at_place("releases/a/release.json", flip), PLACE, "0 0 50 0"),
    "place snapshot missing": (at_place("metadata/*.snapshot.json", Path.unlink), PLACE, "50 50 50 50"),
    "place timestamp missing": (at_place("metadata/timestamp.json", Path.unlink), PLACE, "0 0 12 0"),
    "place older": (older, PLACE, "0 0 12 0"),
    "expired": (later(timedelta(days=40)), ALL, "0 0 0 60 60 0 0"),
    "root expired": (later(timedelta(days=800)), ALL, "0 0 0 60 60 0 0"),
    "clock ahead": (skewed(YEARS), ALL, "0 0 0 60 60 0 0"),
    "clock back": (skewed(-YEARS), ALL, "0 0 0 0 0 0 0"),
    "no timestamp key": (without_key("timestamp.pem"), ALL, "10 10 10 0 0 10 10"),
    "no root key": (without_key("root-*.pem"), "release renew retire", "0 0 0"),
}
"""Each fault, the verbs that meet it, and the exit codes with which they end."""

CELLS = [
    pytest.param(act, verb, int(code), LESS.get((fault, verb), frozenset()), id=f"{fault}-{verb}")
    for fault, (act, verbs, codes) in FAULTS.items()
    for verb, code in zip(verbs.split(), codes.split(), strict=True)
]


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        TemporaryDirectory(dir=memory) as folder,
        pytest.MonkeyPatch.context() as patch,
        serve_folder(Path(folder) / "case") as url,
    ):
        patch.setattr(os, "fsync", lambda _: None)
        yield World(Path(folder), url)


@pytest.fixture
def world(made: World) -> World:
    made.restore()
    return made


def run(verb: Callable[[], None]) -> PtmError | None:
    try:
        verb()
    except PtmError as error:
        return error
    return None


def files_of(folder: Path) -> dict[str, str]:
    """What readers can get: the files of a channel, each with the hash of its bytes; a pack's by inode and time."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".tmp-"):
            stat = path.stat()
            is_pack = path.suffix == ".pack"
            state = f"{stat.st_ino} {stat.st_mtime_ns}" if is_pack else blake3(path.read_bytes()).hexdigest()
            found[path.relative_to(folder).as_posix()] = state
    return found


def check_readers(world: World, served: Path, listed: frozenset[ReleaseName]) -> None:
    got = world.read(served)
    assert set(got) == listed
    for name, outcome in got.items():
        assert outcome == contents(name), name


def check_refusal(error: PtmError, before: dict[str, str], after: dict[str, str]) -> None:
    """The message names the thing and the next step, and readers get what they got."""
    assert "`" in error.message
    assert error.hint, error.message
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize(("fault", "verb", "code", "less"), CELLS)
def test_a_verb_that_ends_well_leaves_what_readers_can_fetch(
    world: World, fault: Fault, verb: str, code: int, less: frozenset[ReleaseName]
) -> None:
    place, listed, act = VERBS[verb]
    served = world.served(place)
    fault(world)
    before = files_of(served)
    error = run(partial(act, world))
    assert (0 if error is None else error.code) == code, error
    if error is None:
        check_readers(world, served, listed - less)
    else:
        check_refusal(error, before, files_of(served))


class Changes:
    """Counts the changes to files below a folder, by the calls that make them, and does something at one of them."""

    CALLS = ("open", "link", "mkdir", "rename", "replace", "unlink", "rmdir", "chmod")

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.count, self.at = str(folder), 0, -1
        self.act: Callable[[str], None] = lambda _: None
        for name in self.CALLS:
            patch.setattr(os, name, self._counted(getattr(os, name), name))

    def _counted(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            paths = [path, *arguments[:1]] if name in {"link", "rename", "replace"} else [path]
            reads = name == "open" and not (arguments and arguments[0] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))
            if not reads and any(str(each).startswith(self.folder) for each in paths):
                self.count += 1
                if self.count >= self.at > 0:
                    self.act(str(path))
            return real(path, *arguments, **options)

        return call


def refusing(number: int) -> Callable[[str], None]:
    def act(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    return act


def changes_of(world: World, verb: str) -> int:
    """How many changes an undisturbed run makes to what is served."""
    place, _, act = VERBS[verb]
    with pytest.MonkeyPatch.context() as patch:
        counted = Changes(world.served(place), patch)
        act(world)
    world.restore()
    return counted.count


CHANGING = [verb for verb in VERBS if verb != "again"]


@pytest.mark.parametrize("verb", CHANGING)
@pytest.mark.parametrize(("number", "codes"), [(errno.ENOSPC, {22}), (errno.EROFS, {20})], ids=["full", "read-only"])
def test_a_disk_that_refuses_ends_the_verb_and_the_same_command_finishes_later(
    world: World, verb: str, number: int, codes: set[int]
) -> None:
    """The first change is refused, and in other runs one in the middle and the last, with all that follow."""
    place, listed, act = VERBS[verb]
    served, count = world.served(place), changes_of(world, verb)
    for at in (1, count // 2, count):
        before = files_of(served)
        with pytest.MonkeyPatch.context() as patch:
            changes = Changes(served, patch)
            changes.at, changes.act = at, refusing(number)
            error = run(partial(act, world))
        if error is None:
            assert changes.count < at, "an earlier run had done a part, so that fewer changes were left"
            check_readers(world, served, listed)
            return
        assert error.code in codes, error
        after = files_of(served)
        if after[TIMESTAMP] == before[TIMESTAMP]:
            check_refusal(error, before, after)
        else:
            check_readers(world, served, listed)
    act(world)
    check_readers(world, served, listed)


@pytest.mark.parametrize("verb", CHANGING)
def test_a_verb_that_is_killed_leaves_what_readers_had_and_is_finished_by_running_it_again(
    world: World, verb: str
) -> None:
    """A child is killed in the middle, and the next one at its last change."""
    place, listed, act = VERBS[verb]
    served, count = world.served(place), changes_of(world, verb)
    had = frozenset(world.listed(served))
    for left in (count // 2, 1):
        if not (child := os.fork()):
            try:
                with pytest.MonkeyPatch.context() as patch:
                    changes = Changes(served, patch)
                    changes.at, changes.act = max(1, count - left + 1), lambda _: os._exit(137)
                    act(world)
                    os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, 137}
        assert frozenset(world.listed(served)) in {had, listed}
        if not status:
            break  # the run before had left too little to be killed in
    else:
        act(world)
    check_readers(world, served, listed)


@pytest.mark.parametrize("other", ["publish", "retire", "renew", "release"])
@pytest.mark.parametrize("verb", CHANGING)
def test_a_second_verb_in_the_middle_of_the_first_harms_no_reader(world: World, verb: str, other: str) -> None:
    """The second runs at one change of the first; a reader comes between the two. Either may be refused as locked."""
    place, _, act = VERBS[verb]
    served, count = world.served(place), changes_of(world, verb)
    errors: list[PtmError | None] = []
    with pytest.MonkeyPatch.context() as patch:
        changes = Changes(served, patch)

        def interfere(_: str) -> None:
            changes.at = -1
            errors.append(run(partial(VERBS[other][2], world)))
            world.listed(world.to)
            world.listed(world.home.channel)

        changes.at, changes.act = max(1, count // 2), interfere
        errors.append(run(partial(act, world)))
    unlisted = {10} if (verb, other) == ("delete", "publish") else set()  # it is half deleted by then
    assert {error.code for error in errors if error} <= {21, *unlisted}, errors
    for each in (world.to, world.home.channel):
        check_readers(world, each, frozenset(world.listed(each)))
