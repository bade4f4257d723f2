"""A clock that is set back does not make an expired channel valid, and an archived release needs no clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ptmtorrent.errors import TrustError
from ptmtorrent.model.records import Note
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, read_first_root
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.memory import SEEN, read_seen
from ptmtorrent.trust.pins import Pins
from tests.channels import Heard
from tests.trust.channels import NOW, open_newest, publish

DAY = timedelta(days=1)
YEARS = timedelta(days=730)


def memory(channel: Path, state: Path) -> Path:
    return state / folder_of(fingerprint(read_first_root(channel)))


def test_expiry_is_judged_at_the_latest_refresh(channel: Path, keys: Keys, tmp_path: Path) -> None:
    """The mirror stands still; a reader whose clock is set back is not shown the old state again."""
    publish(channel, keys, "r1", 1)
    old = (channel / "metadata/timestamp.json").read_bytes()
    publish(channel, keys, "r2", 2, now=NOW + 40 * DAY)
    open_newest(channel, tmp_path / "state", now=NOW + 40 * DAY)
    (memory(channel, tmp_path / "state") / "metadata/timestamp.json").unlink()
    (memory(channel, tmp_path / "state") / "metadata/snapshot.json").unlink()
    (channel / "metadata/timestamp.json").write_bytes(old)
    with pytest.raises(TrustError, match="expired") as caught:
        open_newest(channel, tmp_path / "state", now=NOW)
    record = memory(channel, tmp_path / "state") / SEEN
    assert f"rm '{record}'" in str(caught.value.hint)
    assert "2026-11-20T12:00:00Z" in str(caught.value.hint)


@pytest.mark.parametrize("steps", [(0, 20, 0), (20, 0, 25), (25, -700, 25, -700), (0, -1, -2)])
def test_latest_refresh_is_kept_while_the_clock_steps(
    channel: Path, keys: Keys, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    publish(channel, keys, "r1", 1)
    latest = NOW + max(steps) * DAY
    for days in steps:
        opened = open_newest(channel, tmp_path / "state", now=NOW + days * DAY)
        assert opened.sequence == 1
    assert read_seen(memory(channel, tmp_path / "state")).refreshed_at == latest


def test_failed_refresh_is_not_recorded(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    open_newest(channel, tmp_path / "state")
    with pytest.raises(TrustError, match="expired"):
        open_newest(channel, tmp_path / "state", now=NOW + YEARS)
    assert open_newest(channel, tmp_path / "state", now=NOW + DAY).sequence == 1


def test_record_of_an_earlier_version_is_read(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    record = memory(channel, tmp_path / "state") / SEEN
    record.parent.mkdir(parents=True)
    record.write_bytes(b'{"format":"ptmtorrent/seen","requires":[],"sequence":1,"version":1}')
    open_newest(channel, tmp_path / "state")
    assert read_seen(record.parent).refreshed_at == NOW


@pytest.mark.parametrize("moment", ["yesterday", "", "2026-11-20T12:00:00", "2026-13-20T12:00:00Z"])
def test_record_without_a_time_is_damaged(channel: Path, keys: Keys, tmp_path: Path, moment: str) -> None:
    publish(channel, keys, "r1", 1)
    record = memory(channel, tmp_path / "state") / SEEN
    record.parent.mkdir(parents=True)
    text = f'{{"format":"ptmtorrent/seen","refreshed":"{moment}","requires":[],"sequence":1,"version":1}}'
    record.write_text(text)
    with pytest.raises(TrustError, match="damaged"):
        open_newest(channel, tmp_path / "state")


@pytest.mark.parametrize(("back", "warns"), [(timedelta(0), False), (timedelta(seconds=30), False), (DAY, True)])
def test_a_clock_behind_is_a_warning(
    channel: Path, keys: Keys, tmp_path: Path, back: timedelta, *, warns: bool
) -> None:
    publish(channel, keys, "r1", 1)
    home = Home(tmp_path / "home")
    root = read_first_root(channel)
    Pins(home.trust).add(str(channel), fingerprint(root), root)
    open_channel(str(channel), None, home, clock=lambda: NOW, emit=Heard())
    heard = Heard()
    open_channel(str(channel), None, home, clock=lambda: NOW - back, emit=heard)
    warnings = [record.message for record in heard.records if isinstance(record, Note) and record.warning]
    assert [("clock of this machine" in message, "latest refresh" in message) for message in warnings] == (
        [(True, True)] if warns else []
    )


def test_archived_mode_asks_no_clock(channel: Path, keys: Keys, tmp_path: Path) -> None:
    publish(channel, keys, "r1", 1)
    root = open_newest(channel, tmp_path / "state").release.content_root
    record = memory(channel, tmp_path / "state") / SEEN
    before = record.read_bytes()

    def no_clock() -> datetime:
        raise AssertionError("the clock was asked")

    opened = open_channel(str(channel), f"b3:{root}", Home(tmp_path / "home"), clock=no_clock, emit=Heard())
    assert opened.release.name == "r1"
    assert record.read_bytes() == before
    assert NOW.tzinfo is UTC
