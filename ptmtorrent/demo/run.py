"""Runs hub, clone, release, seeder and a fetch by BitTorrent on one machine, each in its own process.

::

    workdir/
      maintainer/   home of clone, release and publish
      channel/      the published channel
      mirror/       home of the seeder, without trust in either direction
      researcher/   home of fetch
      models/       the fetched packages
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from ptmtorrent.demo.contents import sha256_of
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.processes import Event, run_verb, running_hub, running_verb
from ptmtorrent.errors import IntegrityError, PartialFailure, PtmError
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.subset import POPULAR_DOWNLOADS

RELEASE = "demo-1"


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the demo: `packages`, `files`, `raw` and `stored` (bytes) of the release, `moved` of the fetch."""

    packages: int
    files: int
    raw: int
    stored: int
    moved: int
    verified: int
    steps: tuple[tuple[str, float], ...]


class _Steps:
    """Announces steps and times them."""

    def __init__(self, emit: Emit, monotonic: Monotonic) -> None:
        self.emit = emit
        self.monotonic = monotonic
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str, message: str) -> Iterator[None]:
        self.emit(Note(message=message))
        start = self.monotonic()
        yield
        self.seconds.append((name, self.monotonic() - start))


def run_demo(workdir: Path, *, emit: Emit, monotonic: Monotonic = time.monotonic) -> DemoReport:
    """Run the demo below `workdir`, which is kept for inspection.

    Raises:
        PtmError: a step failed.
        IntegrityError: a fetched file differs from the hub's.
    """
    packages = sample_packages()
    steps = _Steps(emit, monotonic)
    workdir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as beside:
        with steps.step("hub", f"starting a hub with {len(packages)} generated packages"):
            endpoint = beside.enter_context(running_hub(workdir))
        made = _make_release(workdir, endpoint, steps)
        with steps.step("seed", "seeding the volumes of the channel"):
            arguments = ("seed", "--channel", str(workdir / "channel"), "--listen", "127.0.0.1:0")
            seeder = beside.enter_context(running_verb(workdir / "mirror", *arguments, ready="listening"))
        events = _fetch(workdir, str(seeder["address"]), steps)
    with steps.step("verify", "comparing every file with the hub's"):
        verified = _verify(_expected(packages), events)
    return DemoReport(
        packages=made["packages"],
        files=made["files"],
        raw=made["bytes"],
        stored=made["stored"],
        moved=_last(events, "summary")["bytes_moved"],
        verified=verified,
        steps=tuple(steps.seconds),
    )


def _make_release(workdir: Path, endpoint: str, steps: _Steps) -> Event:
    home = workdir / "maintainer"
    with steps.step("clone", f"cloning every package of {endpoint}; one is gated, and must be reported"):
        arguments = ("clone", "huggingface", "--endpoint", endpoint, "--limit", "1000")
        run_verb(home, *arguments, accept=frozenset({PartialFailure.code}))
    with steps.step("keys", "creating keys"):
        run_verb(home, "keys", "init", "--no-passphrase")
    with steps.step("release", f"releasing `{RELEASE}`"):
        made = _last(run_verb(home, "release", RELEASE, "--include", "restricted", "--include", "unknown"), "release")
    with steps.step("publish", "publishing it into a channel"):
        run_verb(home, "publish", RELEASE, "--to", str(workdir / "channel"))
    return made


def _fetch(workdir: Path, peer: str, steps: _Steps) -> list[Event]:
    home, channel = workdir / "researcher", str(workdir / "channel")
    shown = _last(run_verb(workdir / "maintainer", "keys", "show", "--fingerprint"), "key")
    with steps.step("trust", "trusting the channel by its fingerprint"):
        run_verb(home, "trust", "add", channel, "--fingerprint", shown["fingerprint"])
    with steps.step("fetch", f"fetching the subset `popular` by BitTorrent from {peer}"):
        wanted = ("--subset", "popular", "--channel", channel, "--to", str(workdir / "models"))
        return run_verb(home, "fetch", *wanted, "--transport", "torrent", "--peer", peer)


def _expected(packages: tuple[Package, ...]) -> Mapping[str, Package]:
    return {
        f"hf:{package.name}": package
        for package in packages
        if package.access == "public" and (package.downloads or 0) > POPULAR_DOWNLOADS
    }


def _verify(expected: Mapping[str, Package], events: list[Event]) -> int:
    """Compare the fetched files with the hub's; return their number."""
    folders = {event["id"]: Path(event["path"]) for event in events if event["type"] == "result"}
    if folders.keys() != expected.keys():
        difference = ", ".join(sorted(folders.keys() ^ expected.keys()))
        raise IntegrityError(f"the subset `popular` differs from the popular packages of the hub: {difference}")
    compared = 0
    for name, package in expected.items():
        for file in package.files:
            path = folders[name] / file.path
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256_of(file.content):
                raise IntegrityError(f"`{path}` differs from `{file.path}` of `{name}` on the hub")
            compared += 1
    return compared


def _last(events: list[Event], kind: str) -> Event:
    for event in reversed(events):
        if event["type"] == kind:
            return event
    raise PtmError(f"a verb did not print a `{kind}` event")
