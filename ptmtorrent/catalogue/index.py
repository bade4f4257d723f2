"""The index of a release: finds the packages of a subset or by name (one shard each), and reads their manifests.

A content row describes a package and is covered by the content root of the release. A placement row has the locations
of its manifest and its placement.
"""

import difflib
from collections.abc import Iterator, Sequence

import msgspec

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import IntegrityError, NoSource, NotFound, PtmError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, object_id, parse_package_name
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.placement import Location, Placement, check_location, decode_placement
from ptmtorrent.model.plan import MERGE_GAP_BYTES, Extent
from ptmtorrent.model.release import (
    ContentRow,
    ContentShard,
    FileRef,
    PlacementRow,
    PlacementShard,
    Release,
    shard_of,
)
from ptmtorrent.store import codecs

GROUP_MEMBERS = 64
"""Number of members whose manifests and placements are read together."""

RUN_BYTES = 8 << 20
"""Limit of bytes per request that reads neighbouring manifests."""

KEPT_BYTES = 32 << 20
"""Runs are kept up to this many bytes: in an archived release a placement is not signed, and may claim any size."""

MAX_SEARCHED_SHARDS = 16
"""In a release with more shards, near matches of an unknown name are searched only in the shards already read."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One selected package. `only` selects its files by kind; empty selects all."""

    content: ContentRow
    placement: PlacementRow
    only: tuple[FileKind, ...] = ()


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A member with its verified manifest and placement, or the error that prevented reading them."""

    member: Member
    manifest: Manifest | None = None
    placement: Placement | None = None
    error: PtmError | None = None


def find_members(
    release: Release,
    reader: ChannelReader,
    packages: Sequence[str],
    subset: str | None,
    only: tuple[FileKind, ...],
) -> list[Member]:
    """Return the named packages, then the members of the subset, without duplicates.

    Raises:
        UsageError: neither a package nor a subset is given.
        NotFound: the release has no such package or subset; the hint has near matches.
        IntegrityError, TransportError: a shard could not be read.
    """
    if not packages and subset is None:
        raise UsageError("no packages were given", hint="name a package, or a subset: `--subset popular`")
    members = {member.content.package: member for member in _named(release, reader, packages, only)}
    for member in _of_subset(release, reader, subset, only) if subset is not None else ():
        members.setdefault(member.content.package, member)
    return list(members.values())


def describe_members(members: Sequence[Member], reader: ChannelReader) -> Iterator[Described]:
    """Yield every member with its manifest and placement, in order; each 64 members take a few requests."""
    for start in range(0, len(members), GROUP_MEMBERS):
        group = members[start : start + GROUP_MEMBERS]
        documents = _Documents(reader, group)
        for member in group:
            try:
                yield _read_member(member, documents)
            except PtmError as error:
                yield Described(member=member, error=error)


def _named(
    release: Release, reader: ChannelReader, packages: Sequence[str], only: tuple[FileKind, ...]
) -> Iterator[Member]:
    shards: dict[int, dict[PackageName, Member]] = {}
    for name in map(parse_package_name, packages):
        shard = shard_of(name, release.shard_bits)
        if shard not in shards:
            shards[shard] = _shard(release, reader, release.content[shard], release.placement[shard], only)
        if name not in shards[shard]:
            raise _unknown_package(release, reader, name, shards, only)
        yield shards[shard][name]


def _of_subset(release: Release, reader: ChannelReader, name: str, only: tuple[FileKind, ...]) -> Iterator[Member]:
    subset = release.subset(name)
    kinds = tuple(kind for kind in only if kind in subset.only) if only and subset.only else only or subset.only
    if only and subset.only and not kinds:
        raise UsageError(
            f"subset `{name}` has only {', '.join(subset.only)}, and `--only` selects other kinds",
            hint="omit `--only`, or use another subset",
        )
    for content, placement in zip(subset.content, subset.placement, strict=True):
        yield from _shard(release, reader, content, placement, kinds).values()


def _shard(
    release: Release, reader: ChannelReader, content: FileRef, placement: FileRef, only: tuple[FileKind, ...]
) -> dict[PackageName, Member]:
    rows = canonical.decode(read_listed(reader, release, content), ContentShard, name=content.path).rows
    placements = canonical.decode(read_listed(reader, release, placement), PlacementShard, name=placement.path).rows
    if [row.snapshot for row in rows] != [row.snapshot for row in placements]:
        raise IntegrityError(f"`{placement.path}` of release `{release.name}` does not match `{content.path}`")
    for row, placed in zip(rows, placements, strict=True):
        if max(row.manifest_size, placed.placement_size) > canonical.MAX_DOCUMENT_BYTES:
            raise IntegrityError(f"`{content.path}` states an implausible size for the manifest of `{row.package}`")
        check_location(placed.manifest, row.manifest_size)
        check_location(placed.placement_at, placed.placement_size)
    return {
        row.package: Member(content=row, placement=placed, only=only)
        for row, placed in zip(rows, placements, strict=True)
    }


def _unknown_package(
    release: Release,
    reader: ChannelReader,
    name: PackageName,
    shards: dict[int, dict[PackageName, Member]],
    only: tuple[FileKind, ...],
) -> NotFound:
    if len(release.content) <= MAX_SEARCHED_SHARDS:
        for number, (content, placement) in enumerate(zip(release.content, release.placement, strict=True)):
            shards.setdefault(number, {}).update(_shard(release, reader, content, placement, only))
    known = sorted({package for shard in shards.values() for package in shard})
    folded = {package.casefold(): package for package in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    hint = (
        f"did you mean {', '.join(f'`{folded[match]}`' for match in near)}?"
        if near
        else "`ptmtorrent list` lists all packages"
    )
    return NotFound(f"release `{release.name}` has no package `{name}`", hint=hint)


class _Documents:
    """The manifests and placements of a group of members. Neighbouring documents are read with one request."""

    def __init__(self, reader: ChannelReader, members: Sequence[Member]) -> None:
        self._reader = reader
        self._runs: dict[str, list[Extent]] = {}
        self._read: dict[tuple[str, Extent], bytes | PtmError] = {}
        locations = [
            location for member in members for location in (member.placement.manifest, member.placement.placement_at)
        ]
        for pack in {location.pack for location in locations}:
            self._runs[pack] = _runs([location for location in locations if location.pack == pack])

    def object(self, identifier: ObjectId, location: Location, size: int) -> bytes:
        """Return the object at `location`, verified by its hash.

        Raises:
            IntegrityError: the bytes do not have the hash `identifier`.
            NoSource, TransportError: the channel lacks the pack, or could not be read.
        """
        run = next(
            run
            for run in self._runs[location.pack]
            if run.offset <= location.offset and location.offset + location.length <= run.end
        )
        start = location.offset - run.offset
        data = _decode(location, self._run(location.pack, run)[start : start + location.length], size)
        if data is None or object_id(data) != identifier:
            raise IntegrityError(
                f"`{pack_path(location.pack)}` of channel `{self._reader.location}` has wrong bytes"
                f" ({location.length} from byte {location.offset} on)",
                hint="use another mirror; this one is damaged",
            )
        return data

    def _run(self, pack: PackId, run: Extent) -> bytes:
        """Return a run, which is read once; a failure is kept for all members that share it."""
        if (pack, run) not in self._read:
            self._forget(KEPT_BYTES - run.length)
            try:
                self._read[pack, run] = self._reader.read_range(pack_path(pack), run.offset, run.length)
            except NotFound as error:
                location = self._reader.location
                missing = NoSource(
                    f"no source has pack `{pack}`: `{location}` lacks it, and manifests are read only from there",
                    hint="name another mirror with --channel",
                )
                missing.__cause__ = error
                self._read[pack, run] = missing
            except PtmError as error:
                self._read[pack, run] = error
        found = self._read[pack, run]
        if isinstance(found, PtmError):
            raise found
        return found

    def _forget(self, limit: int) -> None:
        """Drop the runs that were read first, until those that are kept have at most `limit` bytes."""
        held = {key: len(found) for key, found in self._read.items() if isinstance(found, bytes)}
        total = sum(held.values())
        for key, length in held.items():
            if total <= limit:
                return
            del self._read[key]
            total -= length


def _decode(location: Location, payload: bytes, size: int) -> bytes | None:
    try:
        return codecs.decode(location.codec, payload, size)
    except IntegrityError:
        return None


def _runs(locations: Sequence[Location]) -> list[Extent]:
    runs: list[Extent] = []
    for location in sorted(locations, key=lambda location: (location.offset, location.length)):
        end = location.offset + location.length
        last = runs[-1] if runs else None
        if last and location.offset <= last.end + MERGE_GAP_BYTES and max(end, last.end) - last.offset <= RUN_BYTES:
            runs[-1] = Extent(offset=last.offset, length=max(end, last.end) - last.offset)
        else:
            runs.append(Extent(offset=location.offset, length=location.length))
    return runs


def _read_member(member: Member, documents: _Documents) -> Described:
    row, placed = member.content, member.placement
    data = documents.object(ObjectId(row.snapshot), placed.manifest, row.manifest_size)
    manifest = decode_manifest(data, row.snapshot)
    if manifest.package.package != row.package:
        raise IntegrityError(f"the snapshot listed for `{row.package}` belongs to `{manifest.package.package}`")
    data = documents.object(placed.placement, placed.placement_at, placed.placement_size)
    return Described(member=member, manifest=manifest, placement=decode_placement(data, manifest, row.snapshot))
