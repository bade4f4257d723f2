from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.model.records import Note
from ptmtorrent.paths import Home
from ptmtorrent.trust.client import listed_releases
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.own import read_published
from ptmtorrent.workflows.release import collect, write
from ptmtorrent.workflows.release import release as workflow
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import Listener, TickingClock, capture, writing
from tests.workflows.three_captured import FIRST, SECOND, made, run, scratch

__all__ = ["made", "scratch"]


class Crash(Exception):
    """Stands for a power cut."""


@contextmanager
def crashing(patch: pytest.MonkeyPatch, module: ModuleType, step: str) -> Iterator[None]:
    """Crash when `module` comes to `step` in the block."""

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with patch.context() as patched:
        patched.setattr(module, step, crash)
        with pytest.raises(Crash):
            yield


def test_a_crash_before_the_signatures_is_finished_by_the_same_command(
    made: tuple[Home, Keys, dict[str, Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keys, _ = made

    with crashing(monkeypatch, workflow, "publish_release_metadata"):
        run(home, keys)
    written = (home.channel / "releases" / FIRST / "release.json").read_bytes()
    heard = Listener()

    release(FIRST, home, keys, clock=TickingClock(), emit=heard)

    assert (home.channel / "releases" / FIRST / "release.json").read_bytes() == written
    assert FIRST in listed_releases(read_published(home.channel, keys).targets)
    assert "earlier run" in heard.of(Note)[0].message


def test_another_release_has_to_wait_for_the_unfinished_one(
    made: tuple[Home, Keys, dict[str, Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keys, _ = made

    with crashing(monkeypatch, workflow, "publish_release_metadata"):
        run(home, keys)

    with pytest.raises(ConfigError) as caught:
        run(home, keys, SECOND)

    assert caught.value.hint == f"finish it: ptmtorrent release {FIRST}"


STEPS = ["write_index", "write_subset", "write_volumes", "decode_release", "make_members"]


def part(step: str) -> ModuleType:
    return collect if step == "make_members" else write


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_while_writing_leaves_the_old_channel_and_can_be_repeated(
    made: tuple[Home, Keys, dict[str, Manifest]], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home, keys, _ = made
    first = run(home, keys)
    home.release_state.unlink()  # so that every package is compared

    with crashing(monkeypatch, part(step), step):
        run(home, keys, SECOND)
    assert list(listed_releases(read_published(home.channel, keys).targets)) == [FIRST]

    second = run(home, keys, SECOND)

    assert (second.sequence, second.volumes) == (2, first.volumes)
    assert not [path for path in (home.channel / "releases").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_while_what_is_new_is_written_can_be_repeated(
    made: tuple[Home, Keys, dict[str, Manifest]], scratch: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home, keys, _ = made
    first = run(home, keys)
    with writing(home) as store:
        capture(store, scratch, "hf:new/one", {"config.json": b"{}"}, downloads=3)

    with crashing(monkeypatch, part(step), step):
        run(home, keys, SECOND)
    assert list(listed_releases(read_published(home.channel, keys).targets)) == [FIRST]

    second = run(home, keys, SECOND)

    assert (second.sequence, second.totals.packages, second.runs[:1]) == (2, 4, first.runs)
    assert not [path for path in (home.channel / "releases").iterdir() if path.name.startswith(".")]


def test_a_damaged_previous_torrent_stops_the_release(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    first = run(home, keys)
    torrent = home.channel / first.volumes[0].torrent_v1.path
    data = bytearray(torrent.read_bytes())
    data[-3] ^= 1
    torrent.unlink()
    torrent.write_bytes(data)

    with pytest.raises(IntegrityError, match="torrent"):
        run(home, keys, SECOND)

    assert not (home.channel / "releases" / SECOND).exists()


def test_a_previous_release_that_was_changed_stops_the_release(made: tuple[Home, Keys, dict[str, Manifest]]) -> None:
    home, keys, _ = made
    run(home, keys)
    other = run(home, keys, SECOND)
    path = home.channel / "releases" / SECOND / "release.json"
    path.write_bytes(path.read_bytes().replace(f'"sequence":{other.sequence}'.encode(), b'"sequence":9'))

    with pytest.raises(IntegrityError, match="not the signed release"):
        run(home, keys, ReleaseName("2027.01"))

    assert not (home.channel / "releases" / "2027.01").exists()
