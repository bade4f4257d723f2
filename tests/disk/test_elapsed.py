"""A clock that steps deletes nothing early, and does not keep things forever."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ptmtorrent.disk.elapsed import AGES_NAME, Instant, elapsed_seconds, find_old, read_uptime
from ptmtorrent.model.moments import spell

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
YEARS = timedelta(days=730)
LIMIT = 4 * DAY


class Machine:
    """A machine whose wall clock can step, and that can be booted again."""

    def __init__(self) -> None:
        self.wall = START
        self.boot = 1
        self.up = timedelta(hours=1)
        self.tells = True

    def pass_time(self, time: timedelta) -> None:
        self.wall += time
        self.up += time

    def reboot(self) -> None:
        self.boot += 1
        self.up = timedelta(0)

    def clock(self) -> datetime:
        return self.wall

    def uptime(self) -> tuple[str, int]:
        return (f"boot {self.boot}", int(self.up.total_seconds())) if self.tells else ("", 0)

    def old(self, folder: Path) -> list[str]:
        """Find what is old, and delete it as callers do."""
        found = find_old(folder, folder.glob("*.part"), LIMIT, self.clock, self.uptime)
        for path in found:
            path.unlink()
        return [path.name for path in found]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.part").write_bytes(b"half")
    return tmp_path


def test_what_waited_for_the_limit_is_old(machine: Machine, folder: Path) -> None:
    assert machine.old(folder) == []
    machine.pass_time(LIMIT - DAY)
    assert machine.old(folder) == []
    (folder / "b.part").write_bytes(b"later")
    machine.pass_time(DAY)
    assert machine.old(folder) == ["a.part"]
    machine.pass_time(LIMIT)
    assert machine.old(folder) == ["b.part"]
    assert not (folder / AGES_NAME).exists()


def test_what_was_written_to_waits_anew(machine: Machine, folder: Path) -> None:
    machine.old(folder)
    machine.pass_time(LIMIT - DAY)
    machine.old(folder)
    (folder / "a.part").write_bytes(b"more than half")
    machine.pass_time(LIMIT)
    assert machine.old(folder) == []
    machine.pass_time(LIMIT)
    assert machine.old(folder) == ["a.part"]


@pytest.mark.parametrize("steps", [[YEARS], [-YEARS], [YEARS, -YEARS] * 3, [-YEARS, YEARS] * 3, [YEARS] * 5])
def test_a_step_of_the_clock_makes_nothing_old(machine: Machine, folder: Path, steps: list[timedelta]) -> None:
    machine.old(folder)
    for step in steps:
        machine.wall += step
        machine.pass_time(timedelta(minutes=1))
        assert machine.old(folder) == []


@pytest.mark.parametrize("step", [YEARS, -YEARS])
def test_after_a_step_things_become_old_again(machine: Machine, folder: Path, step: timedelta) -> None:
    machine.old(folder)
    machine.wall += step
    machine.old(folder)
    machine.pass_time(LIMIT)
    assert machine.old(folder) == ["a.part"]


def test_a_reboot_and_a_step_together_count_for_a_quarter_at_most(machine: Machine, folder: Path) -> None:
    machine.old(folder)
    for _ in range(3):
        machine.wall += YEARS
        machine.reboot()
        assert machine.old(folder) == []


def test_a_machine_that_is_booted_every_day_deletes_in_the_end(machine: Machine, folder: Path) -> None:
    days = 0
    while not machine.old(folder):
        machine.pass_time(DAY)
        machine.reboot()
        days += 1
    assert days == 4


def test_without_the_time_since_boot_a_step_counts_for_a_quarter(machine: Machine, folder: Path) -> None:
    machine.tells = False
    machine.old(folder)
    for _ in range(3):
        machine.wall += YEARS
        assert machine.old(folder) == []
    machine.wall += YEARS
    assert machine.old(folder) == ["a.part"]


@pytest.mark.parametrize("data", [b"", b"{", b'{"files":[],"format":"ptmtorrent/ages","requires":[],"version":1}'])
def test_a_damaged_record_starts_the_wait_again(machine: Machine, folder: Path, data: bytes) -> None:
    machine.old(folder)
    machine.pass_time(LIMIT)
    (folder / AGES_NAME).write_bytes(data)
    assert machine.old(folder) == []
    machine.pass_time(LIMIT)
    assert machine.old(folder) == ["a.part"]


def test_a_time_since_boot_that_runs_ahead_of_the_clock_counts_as_the_clock_says() -> None:
    """Containers of one machine may each count their own time, and share its boot id."""
    last = Instant(moment=spell(START), boot="one", uptime=60)
    now = Instant(moment=spell(START + timedelta(seconds=5)), boot="one", uptime=8_000_000)
    assert elapsed_seconds(last, now, LIMIT) == 5


def test_this_machine_tells_the_time_since_boot() -> None:
    boot, seconds = read_uptime()
    again = read_uptime()
    assert again[0] == boot
    assert 0 <= seconds <= again[1]
