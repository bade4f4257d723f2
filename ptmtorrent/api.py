"""The public Python API, a thin layer over the workflows.

::

    import ptmtorrent.api as ptm

    channel = ptm.open("https://models.example.org/ptm")
    print(channel.subsets())
    print(channel.plan(ptm.FetchRequest(subset="popular")))
    for result in channel.fetch(ptm.FetchRequest(packages=("hf:org/name",), to=Path("models"))):
        print(result.id, result.status, result.path)

Errors are those of `ptmtorrent.errors`; sizes are in bytes.
"""

from pathlib import Path

import msgspec
from platformdirs import user_data_path

from ptmtorrent.errors import PtmError
from ptmtorrent.model.moments import read_clock
from ptmtorrent.model.records import Emit, Event, PlanMade, Result, Summary, ignore
from ptmtorrent.model.release import Release, SubsetRef
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import OpenChannel, open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch

__all__ = ["Channel", "FetchRequest", "PlanMade", "PtmError", "Result", "Summary", "open"]


class Channel:
    """A channel opened at one verified release; returned by `open`."""

    def __init__(self, opened: OpenChannel, home: Home) -> None:
        self._opened = opened
        self._home = home

    @property
    def release(self) -> Release:
        """The release: dated, immutable, verified."""
        return self._opened.release

    def subsets(self) -> tuple[SubsetRef, ...]:
        """Return the subsets of the release, with their counts and bytes."""
        return self.release.subsets

    def plan(self, request: FetchRequest) -> PlanMade:
        """Return the plan of a fetch in files, bytes, requests and disk space, without moving data.

        Raises:
            PtmError: as the verb `fetch`.
        """
        records: list[Event] = []
        self._fetch(msgspec.structs.replace(request, dry_run=True), records.append, None)
        return next(record for record in records if isinstance(record, PlanMade))

    def fetch(self, request: FetchRequest, *, emit: Emit = ignore, stop: Stop | None = None) -> list[Result]:
        """Fetch packages and return a result for each; `emit` gets every record, `stop` interrupts the run.

        Raises:
            PtmError: as the verb `fetch`; packages that fail are results.
        """
        records: list[Event] = []

        def listen(record: Event) -> None:
            records.append(record)
            emit(record)

        self._fetch(request, listen, stop)
        return [record for record in records if isinstance(record, Result)]

    def _fetch(self, request: FetchRequest, emit: Emit, stop: Stop | None) -> Summary:
        return fetch(request, self._opened, self._home, clock=read_clock, emit=emit, stop=stop or Stop())


def open(  # noqa: A001  # the word of the docs; used as `ptm.open`
    location: str | Path | None = None, *, release: str | None = None, home: Path | None = None, emit: Emit = ignore
) -> Channel:
    """Open the channel at `location`, a folder, URL or Globus folder (default: the program's sample channel).

    `release` is a name, or `b3:` and a content root (default: the newest). `home` is the folder of the user's state
    (default: the platform's folder for application data).

    Raises:
        NotFound, TrustError, TransportError: the channel does not exist, is not trusted, or cannot be read.
    """
    place = Home(home or user_data_path("ptmtorrent"))
    return Channel(open_channel(location, release, place, clock=read_clock, emit=emit), place)
