import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from blake3 import blake3

from ptmtorrent.channel.folder import read_volume_packs
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk import durable
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, StoreError, TrustError, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Note, PlanMade, Progress, Result, Summary, ignore
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import Keys, load_keys
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release import release as release_workflow
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import START, Listener, TickingClock, capture, capture_three, new_home, writing

FIRST = ReleaseName("2026.11")
SECOND = ReleaseName("2026.12")


def released(root: Path) -> tuple[Home, Keys]:
    home, keys = new_home(root)
    capture_three(home, root)
    release(FIRST, home, keys, clock=TickingClock(), emit=ignore)
    return home, keys


@pytest.fixture
def made(tmp_path: Path) -> tuple[Home, Keys]:
    return released(tmp_path / "home")


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "srv" / "channel"


def run(home: Home, to: Path, name: ReleaseName = FIRST, **options: object) -> Summary:
    options.setdefault("load_keys", lambda: load_keys(home.keys, lambda: None))
    return publish(name, home, to, emit=ignore, clock=TickingClock(), **options)  # type: ignore[arg-type]  # of the test


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_link", lambda *_: False)


def test_the_published_directory_is_the_channel(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made

    run(home, to)

    assert tree(to) == tree(home.channel)


def test_packs_are_hard_links_and_moved_nothing(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made

    summary = run(home, to)

    packs = list(to.rglob("*.pack"))
    assert packs
    assert all(pack.samefile(home.channel / pack.relative_to(to)) for pack in packs)
    assert summary.bytes_moved == (to / "metadata/timestamp.json").stat().st_size


def test_where_links_are_not_possible_the_bytes_are_copied_and_counted(
    made: tuple[Home, Keys], to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = made
    without_links(monkeypatch)

    summary = run(home, to)

    assert tree(to) == tree(home.channel)
    assert summary.bytes_moved == sum(map(len, tree(to).values()))


@pytest.mark.parametrize("linkable", [True, False])
def test_publishing_again_moves_nothing(
    made: tuple[Home, Keys], to: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    home, _ = made
    if not linkable:
        without_links(monkeypatch)
    run(home, to)
    heard = Listener()

    summary = publish(FIRST, home, to, emit=heard, clock=TickingClock())

    assert summary.bytes_moved == 0
    assert [event.status for event in heard.of(Result)] == ["notneeded"]
    assert heard.of(PlanMade)[0].files == 0


def test_a_dry_run_prints_the_plan_and_writes_nothing(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made
    heard = Listener()

    summary = publish(FIRST, home, to, emit=heard, clock=TickingClock(), dry_run=True)

    plan = heard.of(PlanMade)[0]
    assert (plan.packages, plan.bytes_to_move, summary.bytes_moved) == (3, 0, 0)
    assert plan.bytes > sum(path.stat().st_size for path in home.channel.rglob("*.pack"))
    assert not to.exists()


def test_progress_ends_at_the_bytes_of_the_plan(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made
    heard = Listener()

    publish(FIRST, home, to, emit=heard, clock=TickingClock())

    assert heard.of(Progress)[-1].bytes == heard.of(PlanMade)[0].bytes


class Crash(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("written", [0, 1, 4, 7, 10, 13])
def test_a_crash_leaves_the_old_channel_and_running_again_finishes(
    made: tuple[Home, Keys], to: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    home, keys = made
    run(home, to)
    with writing(home) as store:
        capture(store, home.root, "hf:c/new", {"model.safetensors": b"n" * 9000}, downloads=60)
    release(SECOND, home, keys, clock=TickingClock(), emit=ignore)
    pointer = (to / "metadata/timestamp.json").read_bytes()
    real, left = os.link, [written]

    def fail_later(source: Path, target: Path) -> None:
        if not left[0]:
            raise Crash
        left[0] -= 1
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fail_later)
        with pytest.raises(Crash):
            run(home, to, SECOND)
    assert (to / "metadata/timestamp.json").read_bytes() == pointer

    run(home, to, SECOND)

    assert tree(to) == tree(home.channel)


def _syncs_and_names(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Log each folder below `folder` that is synced, and each file there that gets its name."""
    log: list[str] = []
    sync, replace = durable.sync_dir, Path.replace

    def synced(path: Path) -> None:
        if folder in path.parents:
            log.append(f"sync {path.relative_to(folder)}")
        sync(path)

    def named(path: Path, target: Path) -> Path:
        if folder in target.parents:
            log.append(f"name {target.relative_to(folder)}")
        return replace(path, target)

    monkeypatch.setattr(durable, "sync_dir", synced)
    monkeypatch.setattr(Path, "replace", named)
    return log


def test_a_folder_of_packs_is_synced_once_before_the_release_is_named(
    made: tuple[Home, Keys], to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = made
    log = _syncs_and_names(monkeypatch, to)

    run(home, to)

    packs = {path.relative_to(to).as_posix() for path in to.rglob("*.pack")}
    release_at = log.index(f"name releases/{FIRST}/release.json")
    for folder in {Path(path).parent for path in packs}:
        last = max(at for at, entry in enumerate(log) if entry.startswith(f"name {folder}/"))
        assert [at for at, entry in enumerate(log) if entry == f"sync {folder}"] == [log.index(f"sync {folder}")]
        assert last < log.index(f"sync {folder}") < release_at
    assert log.index("sync torrents") < release_at
    assert log.index(f"sync releases/{FIRST}/index") < release_at


def test_a_released_pack_is_durable_in_the_channel_before_its_torrents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, keys = new_home(tmp_path / "home")
    capture_three(home, tmp_path / "home")
    log = _syncs_and_names(monkeypatch, home.channel)

    release(FIRST, home, keys, clock=TickingClock(), emit=ignore)

    first_torrent = next(at for at, entry in enumerate(log) if entry.startswith("name torrents/"))
    packs = [entry.removeprefix("name ") for entry in log if entry.endswith(".pack")]
    assert packs
    for folder in {Path(path).parent for path in packs}:
        assert log.count(f"sync {folder}") == 1
        assert log.index(f"sync {folder}") < first_torrent


def test_a_half_copied_pack_is_put_right(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made
    run(home, to)
    pack = next(to.rglob("*.pack"))
    pack.unlink()
    pack.write_bytes(b"half")

    run(home, to)

    assert blake3(pack.read_bytes()).hexdigest() == pack.stem


def test_only_the_packs_of_the_release_are_published(made: tuple[Home, Keys], to: Path) -> None:
    home, keys = made
    with writing(home) as store:
        capture(store, home.root, "hf:c/new", {"model.safetensors": b"n" * 9000}, downloads=60)
    second = release(SECOND, home, keys, clock=TickingClock(), emit=ignore)

    run(home, to, FIRST)

    packs = {path.stem for path in to.rglob("*.pack")}
    of_second = {pack for volume in second.volumes for pack, _ in read_volume_packs(home.channel, second, volume)}
    assert packs < of_second
    assert not (to / "releases" / SECOND).exists()


def test_publishing_an_older_release_alone_says_that_the_newest_is_missing(made: tuple[Home, Keys], to: Path) -> None:
    home, keys = made
    release(SECOND, home, keys, clock=TickingClock(), emit=ignore)
    heard = Listener()

    publish(FIRST, home, to, emit=heard, load_keys=lambda: keys, clock=TickingClock())

    assert [(event.warning, f"ptmtorrent publish {SECOND}" in event.message) for event in heard.of(Note)] == [
        (False, True)
    ]


@pytest.mark.parametrize(("days", "said"), [(10, None), (25, "expires")])
def test_a_pointer_about_to_expire_is_said(made: tuple[Home, Keys], to: Path, days: int, said: str | None) -> None:
    heard = Listener()

    publish(FIRST, made[0], to, emit=heard, clock=lambda: START + timedelta(days=days))

    warnings = [event.message for event in heard.of(Note) if "ptmtorrent renew" in event.message]
    assert len(warnings) == (said is not None)
    assert all(f"The channel {said} on" in message for message in warnings)


def test_an_expired_channel_is_not_published(made: tuple[Home, Keys], to: Path) -> None:
    with pytest.raises(TrustError, match="has expired") as caught:
        publish(FIRST, made[0], to, emit=ignore, clock=lambda: START + timedelta(days=31))

    assert "ptmtorrent renew" in (caught.value.hint or "")
    assert not (to / "metadata/timestamp.json").exists()


def test_an_unknown_release_is_refused_naming_near_ones(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made

    with pytest.raises(NotFound) as caught:
        run(home, to, ReleaseName("2026.10"))

    assert FIRST in (caught.value.hint or "")


def test_a_home_without_any_release_is_told_to_make_one(tmp_path: Path, to: Path) -> None:
    with pytest.raises(NotFound) as caught:
        run(Home(tmp_path / "empty"), to)

    assert caught.value.hint == f"create it: ptmtorrent release {FIRST}"


def test_an_unsigned_release_is_refused(made: tuple[Home, Keys], to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, keys = made

    def crash(*_: object, **__: object) -> None:
        raise Crash

    monkeypatch.setattr(release_workflow, "publish_release_metadata", crash)
    with pytest.raises(Crash):
        release(SECOND, home, keys, clock=TickingClock(), emit=ignore)

    with pytest.raises(ConfigError) as caught:
        run(home, to, SECOND)

    assert caught.value.hint == f"finish it: ptmtorrent release {SECOND}, or ptmtorrent release delete {SECOND}"


def test_a_directory_with_another_channel_is_refused_and_left_alone(
    made: tuple[Home, Keys], tmp_path: Path, to: Path
) -> None:
    other, _ = released(tmp_path / "other")
    run(other, to)
    before = tree(to)

    with pytest.raises(ConfigError, match="another channel"):
        run(made[0], to)

    assert tree(to) == before


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
@pytest.mark.parametrize(
    "bytes_there", [b"[]", b'{"signed":[]}', b"[" * 100_000, b'{"signed":{"targets":[]}}', b"\xff"]
)
def test_a_directory_with_metadata_that_is_none_is_refused(
    made: tuple[Home, Keys], to: Path, name: str, bytes_there: bytes
) -> None:
    run(made[0], to)
    path = to / "metadata" / name
    path.unlink()
    path.write_bytes(bytes_there)

    with pytest.raises((IntegrityError, ConfigError)):
        run(made[0], to)


def test_an_older_copy_of_the_home_cannot_publish_over_a_newer_one(
    made: tuple[Home, Keys], tmp_path: Path, to: Path
) -> None:
    home, keys = made
    shutil.copytree(home.root, tmp_path / "backup")
    release(SECOND, home, keys, clock=TickingClock(), emit=ignore)
    run(home, to, SECOND)

    with pytest.raises(ConfigError, match="newer state"):
        run(Home(tmp_path / "backup"), to)


def test_a_forked_copy_of_the_home_cannot_publish_over_the_other(
    made: tuple[Home, Keys], tmp_path: Path, to: Path
) -> None:
    home, keys = made
    fork = Home(tmp_path / "fork")
    shutil.copytree(home.root, fork.root)
    release(SECOND, home, keys, clock=TickingClock(), emit=ignore)
    run(home, to, SECOND)
    for name in ("fork.1", "fork.2", "fork.3"):
        release(ReleaseName(name), fork, keys, clock=TickingClock(), emit=ignore)
    before = tree(to)

    with pytest.raises(ConfigError, match="has diverged"):
        run(fork, to, ReleaseName("fork.3"))

    assert tree(to) == before


def test_a_missing_pack_is_named_before_anything_is_written(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made
    pack = next(home.channel.rglob("*.pack"))
    pack.unlink()

    with pytest.raises(IntegrityError, match=pack.stem):
        run(home, to)

    assert not to.exists()


def test_a_short_pack_is_named_before_anything_is_written(made: tuple[Home, Keys], to: Path) -> None:
    home, _ = made
    pack = next(home.channel.rglob("*.pack"))
    data = pack.read_bytes()
    pack.unlink()
    pack.write_bytes(data[:-1])

    with pytest.raises(IntegrityError, match=pack_path(pack.stem)):  # type: ignore[arg-type]  # the stem is the id
        run(home, to)

    assert not to.exists()


def test_publishing_a_channel_onto_itself_is_refused(made: tuple[Home, Keys]) -> None:
    home, _ = made

    with pytest.raises(UsageError):
        run(home, home.channel)

    assert list(home.channel.rglob("*.pack"))


def test_a_file_in_place_of_the_directory_is_a_store_error(made: tuple[Home, Keys], to: Path) -> None:
    to.parent.mkdir()
    to.write_text("not a directory")

    with pytest.raises(StoreError):
        run(made[0], to)

    assert to.read_text() == "not a directory"
