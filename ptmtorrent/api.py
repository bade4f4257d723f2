"""The public Python API, a thin layer over the workflows (docs/guides/python.md).

::

    import ptmtorrent.api as ptm

    channel = ptm.open("https://models.example.org/ptm")
    print(channel.release.name, channel.cite().content_root)
    for package in channel.list("popular"):
        print(package.package, package.bytes)
    for result in channel.fetch(ptm.FetchRequest(packages=("hf:org/name",), to=Path("models"))):
        print(result.id, result.status, result.path)
    print(ptm.verify("models"))

Settings come from the environment and the settings files, as those of the command line do; arguments take precedence.
Errors are those of `ptmtorrent.errors`: a wrong value is a `UsageError`. Sizes are in bytes.
"""

import re
import types
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from ptmtorrent.catalogue.query import PackageFacts, PackageRow
from ptmtorrent.config import Settings, load_settings
from ptmtorrent.errors import PtmError, UsageError
from ptmtorrent.model.findings import Finding
from ptmtorrent.model.ids import PackageName, SnapshotId, parse_package_name
from ptmtorrent.model.kinds import FileKind, file_kind
from ptmtorrent.model.locations import parse_folder
from ptmtorrent.model.moments import read_clock
from ptmtorrent.model.records import Emit, Event, Opened, PlanMade, Result, Summary, ignore
from ptmtorrent.model.release import Release, SubsetRef
from ptmtorrent.paths import Home
from ptmtorrent.reading.collection import access_of
from ptmtorrent.reading.open_channel import OpenChannel, open_channel
from ptmtorrent.stop import Stop
from ptmtorrent.workflows import list as listing
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.releases import releases
from ptmtorrent.workflows.show import show
from ptmtorrent.workflows.verify import verify as verify_files

__all__ = [
    "Channel",
    "FetchRequest",
    "File",
    "Opened",
    "Package",
    "PackageFacts",
    "PackageRow",
    "PlanMade",
    "PtmError",
    "Release",
    "Result",
    "Stop",
    "SubsetRef",
    "Summary",
    "open",
    "verify",
]

MAX_PORT = 65_535


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a package: its path, its size in bytes, its kind, and its SHA-256 in hexadecimal digits."""

    path: str
    size: int
    kind: FileKind
    sha256: str


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package of a release: its snapshot, the revision of its hub, its row of the table of packages, and its files.

    `commit` is None where the revision is no commit; the row has what the hub states (`row.licence`, `row.url`).
    `findings` are what scanners found in the files when they were captured, the worst first.
    """

    package: PackageName
    snapshot: SnapshotId
    revision: str
    commit: str | None
    version: str | None
    row: PackageRow
    files: tuple[File, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


class Channel:
    """A channel opened at one verified release; returned by `open`."""

    def __init__(self, opened: OpenChannel, settings: Settings) -> None:
        self._opened = opened
        self._settings = settings
        self._home = Home(settings.home)

    @property
    def release(self) -> Release:
        """The release: dated, immutable, verified."""
        return self._opened.release

    def cite(self) -> Opened:
        """Return what one cites the release by: name, date and content root."""
        return self._opened.cite()

    def subsets(self) -> tuple[SubsetRef, ...]:
        """Return the subsets of the release, with their counts and bytes."""
        return self.release.subsets

    def releases(self) -> tuple[Release, ...]:
        """Return the releases that the channel lists, newest first; the opened one alone if it was named by its root.

        Raises:
            TrustError, NotFound, TransportError, IntegrityError: a release cannot be read, or is not the listed one.
        """
        return tuple(releases(self._opened, Stop()))

    def list(self, subset: str | None = None) -> tuple[PackageFacts, ...]:
        """Return the packages of the release, or of one of its subsets, by name.

        Raises:
            NotFound: no such subset.
            IntegrityError, TransportError: a table or a shard cannot be read.
        """
        return tuple(listing.list_(self._opened, None if subset is None else _text(subset, "subset")))

    def show(self, package: str) -> Package:
        """Return one package of the release, and its files.

        Raises:
            UsageError: it is not a name of a package.
            NotFound: no such package, naming near matches.
            IntegrityError, TransportError: its shard or manifest cannot be read.
        """
        row, manifest, findings = show(self._opened, parse_package_name(_text(package, "package")))
        return Package(
            package=row.package,
            snapshot=row.snapshot,
            revision=manifest.package.commit,
            commit=row.commit,
            version=row.version,
            row=row,
            files=tuple(
                File(path=each.name, size=each.size, kind=file_kind(each.name, each.size), sha256=each.sha256)
                for each in manifest.files
            ),
            findings=tuple(findings),
        )

    def plan(self, request: FetchRequest) -> PlanMade:
        """Return the plan of a fetch in files, bytes, requests and disk space, without moving data.

        Raises:
            PtmError: as the verb `fetch`.
        """
        plans: list[PlanMade] = []

        def keep(record: Event) -> None:
            if isinstance(record, PlanMade):
                plans.append(record)

        self._fetch(msgspec.structs.replace(_checked(request), dry_run=True), keep, None)
        return plans[0]

    def fetch(self, request: FetchRequest, *, emit: Emit = ignore, stop: Stop | None = None) -> tuple[Result, ...]:
        """Fetch packages and return a result for each; `emit` gets every record, `stop` interrupts the run.

        Raises:
            UsageError: a value of the request is wrong; the message names it.
            PtmError: as the verb `fetch`; packages that fail are results.
        """
        results: dict[str, Result] = {}

        def listen(record: Event) -> None:
            if isinstance(record, Result):
                results[record.id] = record
            emit(record)

        self._fetch(_checked(request), listen, stop)
        return tuple(results.values())

    def _fetch(self, request: FetchRequest, emit: Emit, stop: Stop | None) -> Summary:
        settled = msgspec.structs.replace(request, transport=request.transport or self._settings.transport)
        return fetch(settled, self._opened, self._home, clock=read_clock, emit=emit, stop=stop or Stop())


def open(  # noqa: A001  # the word of the docs; used as `ptm.open`
    location: str | Path | None = None,
    *,
    release: str | None = None,
    home: str | Path | None = None,
    emit: Emit = ignore,
    stop: Stop | None = None,
) -> Channel:
    """Open the channel at `location`, a folder, URL or Globus folder, at one verified release.

    `location` and `home`, the folder of the user's state, default to the settings (`PTMTORRENT_CHANNEL`,
    `PTMTORRENT_HOME`, the settings files), and then to the sample channel and the platform's folder. `release` is a
    name, or `b3:` and a content root (default: the newest). `stop` interrupts reads that wait, of the channel too.

    Raises:
        UsageError: a value is wrong; the message names it.
        ConfigError: a setting is wrong.
        NotFound, TrustError, TransportError: the channel does not exist, is not trusted, or cannot be read.
    """
    settings = _settings(channel=_place(location, "location"), home=_place(home, "home"))
    place, named = Home(settings.home), None if release is None else _text(release, "release")
    opened = open_channel(
        settings.channel,
        named,
        place,
        clock=read_clock,
        emit=emit,
        globus=lambda: access_of(settings, place),
        stop=stop,
    )
    return Channel(opened, settings)


def verify(
    target: str | Path | None = None,
    *,
    home: str | Path | None = None,
    emit: Emit = ignore,
    stop: Stop | None = None,
) -> tuple[Result, ...]:
    """Hash fetched files again: those below the folder `target`, of the package `target`, or all; a result a package.

    A package is `ok` if its folder is exactly what was fetched; else its status is `error`, and `reason` names files.

    Raises:
        UsageError: a value is wrong.
        NotFound: this home fetched nothing to there.
        StoreError: the record of what was fetched cannot be read.
    """
    results: dict[str, Result] = {}

    def listen(record: Event) -> None:
        if isinstance(record, Result):
            results[record.id] = record
        emit(record)

    place = Home(_settings(home=_place(home, "home")).home)
    verify_files(place, _place(target, "target"), emit=listen, stop=stop or Stop())
    return tuple(results.values())


def _settings(**flags: str | None) -> Settings:
    return load_settings({name: value for name, value in flags.items() if value is not None})


def _place(value: object, name: str) -> str | None:
    if value is None:
        return None
    return str(value) if isinstance(value, Path) else _text(value, name)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"`{name}` cannot be `{value!r}`", hint="give it as text that is not empty")
    return value


def _checked(request: object) -> FetchRequest:
    """Return a request whose values are all of their types and within their limits.

    Raises:
        UsageError: naming the value that is wrong, and what is expected.
    """
    if not isinstance(request, FetchRequest):
        raise UsageError(f"`{request!r}` is not a request", hint='make one: `FetchRequest(packages=("hf:org/name",))`')
    try:
        found = msgspec.convert(msgspec.structs.asdict(request), FetchRequest, dec_hook=_folder)
    except msgspec.ValidationError as error:
        raise _wrong(request, str(error)) from error
    for package in found.packages:
        parse_package_name(package)
    if found.max_bytes is not None and found.max_bytes < 0:
        raise UsageError(f"`max_bytes` cannot be `{found.max_bytes}`", hint="give a number of bytes, 0 or more")
    for host, port in found.peers:
        if not host or not 1 <= port <= MAX_PORT:
            raise UsageError(f"`peers` cannot have `{host}:{port}`", hint='give pairs such as `("127.0.0.1", 6881)`')
    return found


def _folder(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, Path) and "\0" not in str(value):
        return value
    if kind is Path and isinstance(value, str) and value:
        return parse_folder(value, "to")
    raise ValueError("Expected a folder")


def _wrong(request: FetchRequest, reason: str) -> UsageError:
    """Return the error of a value that msgspec refused: `reason` ends with the place of the value."""
    place = re.search(r"\$\.(\w+)", reason)
    if place is None:
        return UsageError(f"the request is wrong: {reason}")
    name, kinds = place[1], get_type_hints(FetchRequest)
    return UsageError(f"`{name}` cannot be `{getattr(request, name)!r}`", hint=f"it takes {_spell(kinds[place[1]])}")


def _spell(hint: object) -> str:
    """Return a type in words."""
    kinds = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(f"`{kind}`" for kind in kinds)
    if get_origin(hint) in {Union, types.UnionType}:
        return ", or ".join(map(_spell, kinds))
    if get_origin(hint) is tuple:
        inner = [_spell(kind) for kind in kinds if kind is not Ellipsis]
        return f"a tuple of {inner[0]}" if Ellipsis in kinds else f"a tuple ({', '.join(inner)})"
    names = {str: "text", int: "a whole number", bool: "True or False", Path: "a folder", type(None): "None"}
    return names.get(hint, str(hint)) if isinstance(hint, type) else str(hint)
