"""The documents of members: one compressed frame each, of manifest and placement, read by a range of a file.

Frames that lie beside each other are read with one request, and the next requests run while frames are decoded. A frame
is proven by the hash in its row, a manifest by the snapshot, which is its hash.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
from blake3 import blake3

from ptmtorrent.catalogue.index import Member
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.errors import IntegrityError, NoSource, NotFound, PtmError
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.model.placement import Placement, decode_placement
from ptmtorrent.model.plan import MERGE_GAP_BYTES, Extent
from ptmtorrent.store.codecs import frames

REQUEST_BYTES = 4 << 20
"""Limit of bytes per request that reads neighbouring frames; a longer frame is read alone."""

REQUESTS = 3
"""Requests in flight, and replies that wait to be decoded."""


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A member with its verified manifest and placement, or the error that prevented reading them."""

    member: Member
    manifest: Manifest | None = None
    placement: Placement | None = None
    error: PtmError | None = None


def describe_members(members: Sequence[Member], reader: ChannelReader) -> Iterator[Described]:
    """Yield every member with its manifest and placement, in order."""
    groups = deque(_groups(members))
    running: deque[tuple[list[Member], Extent, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="documents")
    try:
        while groups or running:
            while groups and len(running) < REQUESTS:
                group, extent = groups.popleft()
                running.append((group, extent, pool.submit(_read, reader, group[0].documents.path, extent)))
            group, extent, reply = running.popleft()
            yield from _describe(group, extent, reply, reader)
    finally:
        pool.shutdown(cancel_futures=True)


def encode_documents(manifest: bytes, placement: bytes) -> bytes:
    """Return the frame of a manifest and a placement."""
    return frames.shrink_general(memoryview(manifest + placement))


def _groups(members: Sequence[Member]) -> Iterator[tuple[list[Member], Extent]]:
    """Yield members whose frames one request reads, in order."""
    group: list[Member] = []
    extent = Extent(offset=0, length=0)
    for member in members:
        own = _extent(member)
        both = Extent(offset=extent.offset, length=own.end - extent.offset)
        joins = (
            group
            and group[0].documents == member.documents
            and extent.end <= own.offset <= extent.end + MERGE_GAP_BYTES
            and both.length <= REQUEST_BYTES
        )
        if group and not joins:
            yield group, extent
            group = []
        extent = both if joins else own
        group.append(member)
    if group:
        yield group, extent


def _extent(member: Member) -> Extent:
    frame = member.row.frame
    return Extent(offset=frame.offset, length=frame.length) if frame else Extent(offset=0, length=0)


def _read(reader: ChannelReader, path: str, extent: Extent) -> bytes:
    try:
        return reader.read_range(path, extent.offset, extent.length)
    except NotFound as error:
        raise NoSource(
            f"`{reader.location}` lacks `{path}`, which has the documents of packages",
            hint="name another mirror with --channel",
        ) from error


def _describe(group: list[Member], extent: Extent, reply: Future[bytes], reader: ChannelReader) -> Iterator[Described]:
    try:
        data = memoryview(reply.result())
    except PtmError as error:
        yield from (Described(member=member, error=error) for member in group)
        return
    for member in group:
        own = _extent(member)
        at = own.offset - extent.offset
        try:
            yield _decode(member, data[at : at + own.length], reader)
        except PtmError as error:
            yield Described(member=member, error=error)


def _decode(member: Member, payload: memoryview, reader: ChannelReader) -> Described:
    row, frame = member.row, member.row.frame
    if frame is None or blake3(payload).hexdigest() != frame.blake3:
        raise IntegrityError(
            f"`{member.documents.path}` of channel `{reader.location}` has wrong bytes for `{row.package}`",
            hint="use another mirror; this one is damaged",
        )
    data = frames.expand(payload, row.manifest_size + row.placement_size)
    manifest = decode_manifest(data[: row.manifest_size], row.snapshot)
    if manifest.package.package != row.package:
        raise IntegrityError(f"the snapshot listed for `{row.package}` belongs to `{manifest.package.package}`")
    placement = decode_placement(data[row.manifest_size :], manifest, row.snapshot)
    return Described(member=member, manifest=manifest, placement=placement)
