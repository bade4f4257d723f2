"""Who is wanted: the rows of a subset, or of packages named one by one (one shard each).

Rows say what a member is (content, covered by the release's content root) and where its manifest and placement lie.
"""

import difflib
from collections.abc import Iterator, Sequence

import msgspec

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
from ptmtorrent.model.volume import pack_path
from ptmtorrent.store import codecs

GROUP = 64
"""Manifests and placements are read for this many members at a time."""

RUN_BYTES = 8 << 20
"""Manifests that lie together are read together, up to this many bytes a request."""

KEPT_BYTES = 32 << 20
"""Runs are kept up to this many bytes: in an archived release a placement is not signed, and may claim any size."""

MANY_SHARDS = 16
"""With more shards than this, near matches of a misspelt name are looked for in its own shard alone."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One package that is wanted. `only` narrows its files by kind; empty means all."""

    content: ContentRow
    placement: PlacementRow
    only: tuple[FileKind, ...] = ()


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A member with its manifest and placement, both proven; or, where that failed, why."""

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
    """Return the packages named, then the members of the subset, each once.

    Raises:
        UsageError: nothing was named.
        NotFound: no such package or subset in this release, naming near matches.
        IntegrityError, TransportError: a shard could not be had.
    """
    if not packages and subset is None:
        raise UsageError("nothing to fetch was named", hint="name a package, or a subset: `--subset popular`")
    members = {member.content.package: member for member in _named(release, reader, packages, only)}
    for member in _of_subset(release, reader, subset, only) if subset is not None else ():
        members.setdefault(member.content.package, member)
    return list(members.values())


def describe_members(members: Sequence[Member], reader: ChannelReader) -> Iterator[Described]:
    """Yield every member with its manifest and placement, in order; reads a few requests for each 64 members."""
    for start in range(0, len(members), GROUP):
        group = members[start : start + GROUP]
        documents = _Documents(reader, group)
        for member in group:
            try:
                yield _describe(member, documents)
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
            raise _unknown(release, reader, name, shards, only)
        yield shards[shard][name]


def _of_subset(release: Release, reader: ChannelReader, name: str, only: tuple[FileKind, ...]) -> Iterator[Member]:
    subset = release.subset(name)
    kinds = tuple(kind for kind in only if kind in subset.only) if only and subset.only else only or subset.only
    if only and subset.only and not kinds:
        raise UsageError(
            f"subset `{name}` holds {', '.join(subset.only)} only, and `--only` asks for something else",
            hint="leave `--only` out, or take another subset",
        )
    for content, placement in zip(subset.content, subset.placement, strict=True):
        yield from _shard(release, reader, content, placement, kinds).values()


def _shard(
    release: Release, reader: ChannelReader, content: FileRef, placement: FileRef, only: tuple[FileKind, ...]
) -> dict[PackageName, Member]:
    rows = canonical.decode(read_listed(reader, release, content), ContentShard, name=content.path).rows
    places = canonical.decode(read_listed(reader, release, placement), PlacementShard, name=placement.path).rows
    if [row.snapshot for row in rows] != [row.snapshot for row in places]:
        raise IntegrityError(f"`{placement.path}` of release `{release.name}` does not match `{content.path}`")
    for row, place in zip(rows, places, strict=True):
        if max(row.manifest_size, place.placement_size) > canonical.MAX_DOCUMENT_BYTES:
            raise IntegrityError(f"`{content.path}` says that `{row.package}` has a manifest no reader should believe")
        check_location(place.manifest, row.manifest_size)
        check_location(place.placement_at, place.placement_size)
    return {
        row.package: Member(content=row, placement=place, only=only) for row, place in zip(rows, places, strict=True)
    }


def _unknown(
    release: Release,
    reader: ChannelReader,
    name: PackageName,
    shards: dict[int, dict[PackageName, Member]],
    only: tuple[FileKind, ...],
) -> NotFound:
    if len(release.content) <= MANY_SHARDS:
        for number, (content, placement) in enumerate(zip(release.content, release.placement, strict=True)):
            shards.setdefault(number, {}).update(_shard(release, reader, content, placement, only))
    known = sorted({package for shard in shards.values() for package in shard})
    folded = {package.casefold(): package for package in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    hint = (
        f"did you mean {', '.join(f'`{folded[match]}`' for match in near)}?"
        if near
        else "`ptmtorrent list` names them all"
    )
    return NotFound(f"release `{release.name}` has no package `{name}`", hint=hint)


class _Documents:
    """The manifests and placements of a group of members, read in runs where they lie close together."""

    def __init__(self, reader: ChannelReader, members: Sequence[Member]) -> None:
        self._reader = reader
        self._runs: dict[str, list[Extent]] = {}
        self._read: dict[tuple[str, Extent], bytes | PtmError] = {}
        places = [place for member in members for place in (member.placement.manifest, member.placement.placement_at)]
        for pack in {place.pack for place in places}:
            self._runs[pack] = _runs([place for place in places if place.pack == pack])

    def object(self, identifier: ObjectId, place: Location, size: int) -> bytes:
        """Return the object at `place`, proven by its hash.

        Raises:
            IntegrityError: other bytes than `identifier` names.
            NoSource, TransportError: the channel lacks the pack, or could not be read.
        """
        run = next(
            run
            for run in self._runs[place.pack]
            if run.offset <= place.offset and place.offset + place.length <= run.end
        )
        start = place.offset - run.offset
        data = _decode(place, self._run(place.pack, run)[start : start + place.length], size)
        if data is None or object_id(data) != identifier:
            raise IntegrityError(
                f"`{pack_path(place.pack)}` of channel `{self._reader.location}` has other bytes than it should"
                f" ({place.length} from byte {place.offset} on)",
                hint="try another mirror; this one is damaged",
            )
        return data

    def _run(self, pack: PackId, run: Extent) -> bytes:
        """Read a run once; a failure is remembered too, for all members that share it."""
        if (pack, run) not in self._read:
            self._forget(KEPT_BYTES - run.length)
            try:
                self._read[pack, run] = self._reader.read_range(pack_path(pack), run.offset, run.length)
            except NotFound as error:
                location = self._reader.location
                lacking = NoSource(
                    f"no source has pack `{pack}`: `{location}` lacks it, and manifests come from there alone",
                    hint="name another mirror with --channel",
                )
                lacking.__cause__ = error
                self._read[pack, run] = lacking
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


def _decode(place: Location, payload: bytes, size: int) -> bytes | None:
    try:
        return codecs.decode(place.codec, payload, size)
    except IntegrityError:
        return None


def _runs(places: Sequence[Location]) -> list[Extent]:
    runs: list[Extent] = []
    for place in sorted(places, key=lambda place: (place.offset, place.length)):
        end = place.offset + place.length
        last = runs[-1] if runs else None
        if last and place.offset <= last.end + MERGE_GAP_BYTES and max(end, last.end) - last.offset <= RUN_BYTES:
            runs[-1] = Extent(offset=last.offset, length=max(end, last.end) - last.offset)
        else:
            runs.append(Extent(offset=place.offset, length=place.length))
    return runs


def _describe(member: Member, documents: _Documents) -> Described:
    row, place = member.content, member.placement
    data = documents.object(ObjectId(row.snapshot), place.manifest, row.manifest_size)
    manifest = decode_manifest(data, row.snapshot)
    if manifest.package.package != row.package:
        raise IntegrityError(f"the snapshot listed as `{row.package}` is one of `{manifest.package.package}`")
    data = documents.object(place.placement, place.placement_at, place.placement_size)
    return Described(member=member, manifest=manifest, placement=decode_placement(data, manifest, row.snapshot))
