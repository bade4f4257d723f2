"""Clones into a home of a test, from the sample hub or from a lying peer."""

import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from ptmtorrent.demo.package import Package, PackageFile, text_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.hubs.huggingface.adapter import HuggingFace
from ptmtorrent.hubs.port import NewSession
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.records import Event, PlanMade, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.hubs.conftest import Time
from tests.hubs.peer import Peer

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
WEIGHTS = random.Random(3).randbytes(200_000)


def package(name: str, *files: PackageFile, downloads: int | None = 100, licence: str | None = "mit") -> Package:
    return Package(name=name, files=files or (text_file("README.md", name),), downloads=downloads, licence=licence)


def lines_of(listing: Path) -> list[dict[str, Any]]:
    """Return the lines of a frozen listing."""
    with listing.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as text:
        return [json.loads(line) for line in io.TextIOWrapper(text, encoding="utf-8")]


class Run:
    """Clones into one home, with a new adapter each time, and hears what was said."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.time = Time()
        self.events: list[Event] = []
        self.stop = Stop()
        self.token: str | None = None
        self.xet = False
        self.guarded = False
        self.emit: Callable[[Event], None] = lambda _: None

    def __call__(self, hub: SampleHub | Peer, request: CloneRequest | None = None) -> Summary:
        self.events = []
        request = request or CloneRequest()
        endpoint = hub.endpoint if isinstance(hub, SampleHub) else hub.base

        def make_hub(new_session: NewSession) -> HuggingFace:
            session = new_session(monotonic=self.time.monotonic, pause=self.time.pause, guarded=self.guarded)
            return HuggingFace(endpoint, self.token, session=session, also=request.also, xet=self.xet)

        return clone(make_hub, request, self.home, clock=lambda: NOW, emit=self._hear, stop=self.stop)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.emit(event)

    def results(self) -> dict[str, str]:
        return {event.id: event.status for event in self.events if isinstance(event, Result)}

    def reason(self, name: str) -> str:
        return next(event.reason for event in self.events if isinstance(event, Result) and event.id == name)

    def plan(self) -> PlanMade:
        [made] = [event for event in self.events if isinstance(event, PlanMade)]
        return made

    def manifests(self) -> dict[str, Manifest]:
        with Store.open(self.home.store) as store:
            found = [
                decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
                for capture in store.captures()
            ]
        return {manifest.package.package: manifest for manifest in found}

    def data(self, name: str, path: str) -> bytes:
        manifest = self.manifests()[name]
        [file] = [file for file in manifest.files if file.name == path]
        with Store.open(self.home.store) as store:
            return b"".join(store.read(manifest.objects[row][0]) for row in manifest.objects_of(file.recipe))
