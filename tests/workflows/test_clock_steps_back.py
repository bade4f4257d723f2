"""The wall clock is set back an hour while a workflow runs: progress goes on, and the seconds are those that passed."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import Event, Progress, Summary, ignore
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.release.release import release
from tests.channels import clock as made_at
from tests.channels import make_channel
from tests.workflows.captured import START, capture_three, new_home

NAME = ReleaseName("2026.12")


@dataclass
class Clocks:
    """Both clocks advance a second whenever the monotonic one is read; the wall clock then steps back an hour."""

    start: datetime = START
    passed: int = 0
    stepped: bool = False
    events: list[Event] = field(default_factory=list)

    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.passed) - timedelta(hours=self.stepped)

    def monotonic(self) -> float:
        self.passed += 1
        return 5000.0 + self.passed

    def emit(self, event: Event) -> None:
        """Keep an event; the clock is set back at the first progress."""
        self.events.append(event)
        self.stepped = self.stepped or isinstance(event, Progress)

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]

    def check(self, summary: Summary) -> None:
        assert self.stepped
        assert len(self.progress) > 2
        for step in {event.step for event in self.progress}:
            moves = [event.bytes for event in self.progress if event.step == step]
            assert all(before <= after for before, after in pairwise(moves))
        assert 0 < summary.seconds < self.passed


def test_fetch(tmp_path: Path) -> None:
    clocks = Clocks(start=made_at())
    made = make_channel(tmp_path / "made")
    home = Home(tmp_path / "reader")
    made.trusted_by(home, str(made.folder))
    channel = open_channel(str(made.folder), None, home, clock=clocks.wall, emit=ignore)
    request = FetchRequest(subset="all", to=tmp_path / "out")

    clocks.check(
        fetch(
            request,
            channel,
            home,
            clock=clocks.wall,
            emit=clocks.emit,
            stop=Stop(),
            monotonic=clocks.monotonic,
        )
    )


def test_release(tmp_path: Path) -> None:
    clocks = Clocks()
    home, keys = new_home(tmp_path / "home")
    capture_three(home, tmp_path)

    release(NAME, home, keys, clock=clocks.wall, emit=clocks.emit, monotonic=clocks.monotonic)

    [summary] = [event for event in clocks.events if isinstance(event, Summary)]
    clocks.check(summary)


def test_publish(tmp_path: Path) -> None:
    clocks = Clocks()
    home, keys = new_home(tmp_path / "home")
    capture_three(home, tmp_path)
    release(NAME, home, keys, clock=clocks.wall, emit=ignore)

    clocks.check(publish(NAME, home, tmp_path / "srv", emit=clocks.emit, clock=clocks.wall, monotonic=clocks.monotonic))
