"""`verify --channel`: what a seeder believes because of its record is read again when asked."""

import os
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import Interrupted, NotFound
from ptmtorrent.model import records
from ptmtorrent.model.ids import PackId
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.maintain.check_channel import check_channel
from tests.simulators.swarm import Shared, flip, seeding, share, write_release


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    shared = share(tmp_path / "channel", 1, 2, 1)
    write_release(shared)
    return shared


def check(shared: Shared, home: Home) -> tuple[records.Summary, dict[str, records.Result], list[str]]:
    """Check the channel; return the summary, the records by pack, and the notes."""
    events: list[records.Event] = []
    summary = check_channel(home, shared.channel, emit=events.append, stop=Stop())
    results = {event.id: event for event in events if isinstance(event, records.Result)}
    return summary, results, [event.message for event in events if isinstance(event, records.Note)]


def warnings_of_seeder(shared: Shared, home: Home) -> list[str]:
    events: list[records.Event] = []
    with seeding(shared.channel, emit=events.append, known=home.verified_files):
        pass
    return [event.message for event in events if isinstance(event, records.Note) and event.warning]


def test_a_flip_under_an_old_time_is_found_and_then_not_seeded(shared: Shared, tmp_path: Path) -> None:
    home, flipped = Home(tmp_path / "home"), shared.packs[1]
    path = shared.path(flipped)
    assert warnings_of_seeder(shared, home) == []
    before = path.stat()
    flip(path, 12345)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert warnings_of_seeder(shared, home) == []

    summary, results, _ = check(shared, home)

    assert (summary.packages, summary.failed, summary.unit) == (3, 1, "pack")
    assert {pack for pack, result in results.items() if result.status == "error"} == {flipped.pack}
    assert results[flipped.pack].reason.startswith("its bytes hash to `")
    (warning,) = warnings_of_seeder(shared, home)
    assert flipped.pack in warning


def test_a_pack_under_another_name_is_damaged_whatever_its_torrents_promise(shared: Shared, tmp_path: Path) -> None:
    renamed = msgspec.structs.replace(shared.packs[0], pack=PackId("ab" * 32))
    shared.path(renamed).parent.mkdir(exist_ok=True)
    shared.path(shared.packs[0]).rename(shared.path(renamed))
    lying = msgspec.structs.replace(shared, packs=(renamed, *shared.packs[1:]))
    write_release(lying, "2026.12")

    summary, results, _ = check(lying, Home(tmp_path / "home"))

    assert summary.failed == 1
    assert results[renamed.pack].status == "error"


def test_what_was_checked_is_not_read_by_the_next_seeder(shared: Shared, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    summary, results, _ = check(shared, home)

    assert summary.failed == 0
    assert {result.reason for result in results.values()} == {"every byte is right"}
    events: list[records.Event] = []
    with seeding(shared.channel, emit=events.append, known=home.verified_files):
        pass
    assert not [event for event in events if isinstance(event, records.Note) and "verifying" in event.message]


def test_packs_that_a_mirror_does_not_hold_are_counted_and_no_error(shared: Shared, tmp_path: Path) -> None:
    shared.path(shared.packs[0]).unlink()

    summary, _, notes = check(shared, Home(tmp_path / "home"))

    assert (summary.packages, summary.failed) == (2, 0)
    assert any("1 pack of 3" in note for note in notes)


def test_a_damaged_torrent_is_an_error(shared: Shared, tmp_path: Path) -> None:
    next((shared.channel / "torrents").iterdir()).write_bytes(b"x")

    summary, _, notes = check(shared, Home(tmp_path / "home"))

    assert summary.failed == 1
    assert any("cannot be checked" in note for note in notes)


def test_a_folder_without_releases_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no release"):
        check_channel(Home(tmp_path / "home"), tmp_path, emit=records.ignore, stop=Stop())


def test_a_stop_interrupts_the_check(shared: Shared, tmp_path: Path) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        check_channel(Home(tmp_path / "home"), shared.channel, emit=records.ignore, stop=stop)


def test_the_releases_whose_packs_are_read_are_named(shared: Shared, tmp_path: Path) -> None:
    events: list[records.Event] = []
    check_channel(Home(tmp_path / "home"), shared.channel, emit=events.append, stop=Stop())
    opened = events[0]
    assert isinstance(opened, records.Opened)
    assert (opened.release, opened.channel, opened.how) == ("2026.11", str(shared.channel), "unsigned")
    assert opened.content_root.startswith("b3:")
