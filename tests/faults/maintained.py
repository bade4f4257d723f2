"""A home with releases, a directory that it publishes to, and readers of both: for faults under a maintainer's verbs.

The directory lists `a` and `b`, the home `c` too; one more package is captured and in no release. Everything lies below
one folder, is made once and put back for each case, so that addresses and recorded paths stay what they were.
"""

import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from blake3 import blake3
from tuf.ngclient import Updater, UpdaterConfig

from ptmtorrent.channel.folder import read_release, read_volume_packs
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.keys import Keys, load_keys
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.publish.publish import publish
from ptmtorrent.workflows.publish.retire import retire
from ptmtorrent.workflows.release.delete import delete_release
from ptmtorrent.workflows.release.release import release
from ptmtorrent.workflows.renew import renew
from tests.workflows.captured import START, capture, new_home, writing

A, B, C, D = (ReleaseName(name) for name in "abcd")
Files = Mapping[str, bytes]
BY_RELEASE: dict[ReleaseName, dict[str, Files]] = {
    A: {"hf:a/one": {"config.json": b'{"text": "one"}', "model.safetensors": b"w" * 5000}},
    B: {"hf:b/two": {"config.json": b'{"text": "two"}', "model.safetensors": b"x" * 7000}},
    C: {"hf:c/three": {"README.md": b"# three"}},
    D: {"hf:d/four": {"README.md": b"# four"}},
}
"""The packages that each release adds to those of the one before it."""

Outcome = Mapping[str, bytes] | str
"""What a reader got of a release: the files, or the class of the error."""


def contents(name: ReleaseName) -> dict[str, bytes]:
    """The files of the release `name`, as a fetch lays them out."""
    return {
        f"{package.replace(':', '/', 1)}/{path}": data
        for added, packages in BY_RELEASE.items()
        if added <= name
        for package, files in packages.items()
        for path, data in files.items()
    }


class World:
    """The home, the directory `to`, and what readers of either keep between their visits."""

    def __init__(self, root: Path, url: str) -> None:
        self.case, self.saved, self.url = root / "case", root / "saved", url
        self.home, self.to, self.older = Home(self.case / "home"), self.case / "to", self.case / "older"
        self.now = START + timedelta(days=1)
        self.skew = timedelta(0)
        self._make()

    def clock(self) -> datetime:
        """The clock of the maintainer, which may be wrong by `skew`."""
        self.now += timedelta(seconds=1)
        return self.now + self.skew

    def served(self, place: str) -> Path:
        """The channel that a verb changes: that of the home, or the directory."""
        return self.to if place == "to" else self.home.channel

    def restore(self) -> None:
        """Put everything back as it was made."""
        self.now, self.skew = START + timedelta(days=1), timedelta(0)
        shutil.rmtree(self.case)
        shutil.copytree(self.saved, self.case, copy_function=_link_packs)

    def _make(self) -> None:
        new_home(self.home.root)
        for name in (A, B, C):
            self._capture(name)
            self.release(name)
            if name != C:
                self.publish(name)
            if name == A:
                shutil.copytree(self.to, self.older)
        self._capture(D)
        for served in (self.to, self.home.channel):
            self.read(served)
        self.case.rename(self.saved)
        shutil.copytree(self.saved, self.case, copy_function=_link_packs)

    def _capture(self, name: ReleaseName) -> None:
        with writing(self.home) as store:
            for package, files in BY_RELEASE[name].items():
                capture(store, self.home.root, package, files)

    def keys(self) -> Keys:
        return load_keys(self.home.keys, lambda: None)

    def release(self, name: ReleaseName = D) -> None:
        release(name, self.home, self.keys(), clock=self.clock, emit=ignore)

    def publish(self, name: ReleaseName = C) -> None:
        publish(name, self.home, self.to, emit=ignore, load_keys=self.keys, clock=self.clock)

    def retire(self, name: ReleaseName = B) -> None:
        retire(name, self.home, self.to, emit=ignore, load_keys=self.keys, clock=self.clock)

    def renew(self) -> None:
        renew(self.home, self.keys(), clock=self.clock, emit=ignore)

    def renew_place(self) -> None:
        self.renew()
        self.publish(B)

    def delete(self, name: ReleaseName = C) -> None:
        delete_release(name, self.home, self.keys(), clock=self.clock, emit=ignore)

    def read(self, served: Path) -> dict[ReleaseName, Outcome]:
        """What readers get of each release that a stock client finds listed in `served`.

        Our fetch, in another home, lays the newest one out; of the others every listed file is hashed.
        """
        names = self.listed(served)
        return {name: self._fetch(served, name) if name == names[-1] else _hashed(served, name) for name in names}

    def listed(self, served: Path) -> tuple[ReleaseName, ...]:
        """Refresh a stock client, download the `release.json` of each release, and return their names."""
        state = self.case / f"stock-{served.name}"
        for folder in (state / "metadata", state / "targets"):
            folder.mkdir(parents=True, exist_ok=True)
        url = self._url(served)
        client = Updater(
            str(state / "metadata"),
            f"{url}/metadata/",
            str(state / "targets"),
            f"{url}/",
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=read_first_root(self.home.channel),
        )
        client._trusted_set.reference_time = self.now
        client.refresh()
        targets = client._trusted_set.targets.targets
        names = sorted(path.split("/")[1] for path in targets if path.endswith("/release.json"))
        for name in names:
            info = client.get_targetinfo(f"releases/{name}/release.json")
            assert info is not None
            client.download_target(info)
        return tuple(ReleaseName(name) for name in names)

    def _url(self, served: Path) -> str:
        return f"{self.url}/{served.relative_to(self.case).as_posix()}"

    def _fetch(self, served: Path, name: ReleaseName) -> Outcome:
        reader, url = Home(self.case / f"reader-{served.name}"), self._url(served)
        root = read_first_root(self.home.channel)
        Pins(reader.trust).add(url, fingerprint(root), root)
        out = self.case / "out"
        shutil.rmtree(out, ignore_errors=True)
        try:
            opened = open_channel(url, name, reader, clock=lambda: self.now, emit=ignore)
            packages = tuple(package for each in (A, B, C, D) if each <= name for package in BY_RELEASE[each])
            request = FetchRequest(packages=packages, to=out)
            fetch(request, opened, reader, clock=lambda: self.now, emit=ignore, stop=Stop())
        except PtmError as error:
            return type(error).__name__
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def _hashed(served: Path, name: ReleaseName) -> Outcome:
    """The files of a release, where every file that it lists is whole."""
    _, made = read_release(served, name)
    torrents = [ref for volume in made.volumes for ref in (volume.torrent_v1, volume.torrent_v2)]
    wanted = {ref.path: ref.blake3 for ref in (*made.listed, *torrents)}
    for volume in made.volumes:
        wanted |= {pack_path(pack): pack for pack, _ in read_volume_packs(served, made, volume)}
    for path, digest in wanted.items():
        file = served / path
        if not file.is_file() or blake3(file.read_bytes()).hexdigest() != digest:
            return f"`{path}` is not the listed file"
    return contents(name)


def _link_packs(source: str, target: str) -> object:
    return os.link(source, target) if source.endswith(".pack") else shutil.copy2(source, target)
