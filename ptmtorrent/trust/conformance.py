"""Drives our TUF client by the command line of the TUF conformance suite: `python -m ptmtorrent.trust.conformance`.

::

    --metadata-dir DIR init ROOT_JSON
    --metadata-dir DIR --metadata-url URL refresh
    --metadata-dir DIR --metadata-url URL --target-name NAME... --target-base-url URL --target-dir DIR download

It ends with 0 when the command succeeded and 1 when anything failed. What verifies is `refresh`, with which channels
are opened; this module adds where a repository of the suite has its files, and targets named by their hash.
Source: theupdateframework/tuf-conformance, CLIENT-CLI.md.
"""

import argparse
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import METADATA
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import LocalReader, RetryingReader
from ptmtorrent.disk.durable import ensure_dir, read_regular, write_file
from ptmtorrent.errors import NotFound, PtmError, UsageError
from ptmtorrent.model.locations import FolderLocation, WebLocation, parse_location
from ptmtorrent.model.moments import Clock, read_clock
from ptmtorrent.trust.refresh import Refreshed, check_target, refresh

PINNED = "pinned"
"""The folder below the metadata with the root that a client was initialised with."""

OpenUrl = Callable[[str], ChannelReader]


class Repository:
    """Reads a repository whose metadata and targets have a URL each."""

    def __init__(self, metadata: ChannelReader, targets: ChannelReader | None) -> None:
        self.location = metadata.location
        self._metadata = metadata
        self._targets = targets

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file; see `ChannelReader.read`."""
        name = path.removeprefix(f"{METADATA}/")
        if name != path:
            return self._metadata.read(name, limit=limit)
        return self._of_targets().read(path, limit=limit)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; see `ChannelReader.read_range`."""
        return self._of_targets().read_range(path, offset, length)

    def _of_targets(self) -> ChannelReader:
        if self._targets is None:
            raise UsageError("targets are read from `--target-base-url`", hint="give it")
        return self._targets


def main(arguments: Sequence[str] | None = None, *, clock: Clock = read_clock, open_url: OpenUrl | None = None) -> int:
    """Run one command of the suite; return 0 when it succeeded, else 1 with the reason on stderr."""
    given = _parser().parse_args(arguments)
    try:
        _run(given, clock, open_url or _open_url)
    except (PtmError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ptmtorrent.trust.conformance", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


def _run(given: argparse.Namespace, clock: Clock, open_url: OpenUrl) -> None:
    pinned = given.metadata_dir / PINNED / "root.json"
    if given.command == "init":
        root = read_regular(given.root)
        write_file(pinned, root)
        write_file(given.metadata_dir / "root.json", root)
        return
    if given.metadata_url is None:
        raise UsageError("`--metadata-url` is missing", hint="give the URL of the metadata")
    base = given.target_base_url
    repository = Repository(open_url(given.metadata_url), open_url(base) if base else None)
    found = refresh(repository, read_regular(pinned), given.metadata_dir, clock())
    if given.command == "download":
        if given.target_dir is None or not given.target_name:
            raise UsageError("`--target-name` and `--target-dir` are missing", hint="give both")
        for name in given.target_name:
            _download(repository, found, name, given.target_dir)


def _download(repository: Repository, found: Refreshed, name: str, folder: Path) -> None:
    """Write the target `name` below `folder` under its quoted name, unless its signed bytes are there."""
    target = found.find(name)
    if target is None:
        raise NotFound(f"no role signs a target `{name}`")
    file = folder / quote(name, "")
    if not _is_here(file, target):
        data = repository.read(_served_path(target, prefixed=bool(found.root.consistent_snapshot)), limit=target.length)
        check_target(target, data, repository.location)
        ensure_dir(folder)
        write_file(file, data)


def _is_here(file: Path, target: TargetFile) -> bool:
    try:
        check_target(target, read_regular(file), str(file))
    except (OSError, PtmError):
        return False
    return True


def _served_path(target: TargetFile, *, prefixed: bool) -> str:
    """Return the path of a target: its name has its hash in front in a consistent repository (specification, 6.2)."""
    if not prefixed:
        return target.path
    folder, slash, name = target.path.rpartition("/")
    return f"{folder}{slash}{next(iter(target.hashes.values()))}.{name}"


def _open_url(url: str) -> ChannelReader:
    place = parse_location(url)
    if isinstance(place, FolderLocation):
        return LocalReader(place.path)
    if not isinstance(place, WebLocation):
        raise UsageError(f"`{url}` is not the URL of a repository", hint="name a web server or a folder")
    from ptmtorrent.channel.web_reader import HttpReader
    from ptmtorrent.http import new_client

    client = new_client(login=place.login)
    reader = RetryingReader(HttpReader(place.url, client, quoted=True))
    weakref.finalize(reader, client.close)
    return reader


if __name__ == "__main__":
    sys.exit(main())
