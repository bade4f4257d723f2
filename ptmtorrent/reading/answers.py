"""Reads raw answers of hubs from a channel, by ranges of its packs: what an export without a store needs.

Answers are small and lie close together, so that near ones are read by one request.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.errors import IntegrityError, NotFound, PtmError
from ptmtorrent.model.ids import ObjectId, PackageName, object_id
from ptmtorrent.model.placement import Location
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.store import codecs

ALL = "all"
"""The subset of every package."""

_BLOCK = 256
_GAP = 64 << 10
_MOST = 8 << 20


class Answered(NamedTuple):
    """A package and its answer, empty if the hub gave none; or why it could not be read."""

    package: PackageName
    answer: bytes
    error: PtmError | None


class _Place(NamedTuple):
    at: Location
    size: int


def read_answers(channel: OpenChannel, names: Mapping[str, str]) -> Iterator[Answered]:
    """Yield the answer of each package of the release, unordered; `names` has what it is called, by hub.

    Raises:
        IntegrityError, NotFound, TransportError: the index of the release cannot be read.
    """
    members = find_members(channel.release, channel.reader, (), ALL, ())
    described = describe_members(members, channel.reader)
    while block := list(islice(described, _BLOCK)):
        places = dict(place for each in block for place in _places(each, names))
        read = _read(channel, places)
        for each in block:
            yield _answer(each, names, read)


def _answer(described: Described, names: Mapping[str, str], read: Mapping[ObjectId, bytes | PtmError]) -> Answered:
    package = described.member.package
    if described.error is not None:
        return Answered(package, b"", described.error)
    parts: list[bytes] = []
    for identifier in _objects(described, names):
        part = read.get(identifier, NotFound(f"`{package}`: no object `{identifier}` of its hub's answer is there"))
        if isinstance(part, PtmError):
            return Answered(package, b"", part)
        parts.append(part)
    return Answered(package, b"".join(parts), None)


def _objects(described: Described, names: Mapping[str, str]) -> list[ObjectId]:
    manifest = described.manifest
    if manifest is None:
        return []
    wanted = names.get(manifest.package.hub, "record")
    answer = next((answer for answer in manifest.raw if answer.name == wanted), None)
    return [manifest.objects[row][0] for row in manifest.objects_of(answer.recipe)] if answer else []


def _places(described: Described, names: Mapping[str, str]) -> Iterator[tuple[ObjectId, _Place]]:
    """Yield the objects of an answer with a place where each lies whole."""
    if described.manifest is None or described.placement is None:
        return
    wanted = set(_objects(described, names))
    for row, (identifier, size) in enumerate(described.manifest.objects):
        if identifier in wanted:
            forms = described.placement.forms_of(row)
            if (whole := next((form.at for form in forms if form.base is None), None)) is not None:
                yield identifier, _Place(whole, size)


def _read(channel: OpenChannel, places: Mapping[ObjectId, _Place]) -> dict[ObjectId, bytes | PtmError]:
    ordered = sorted(places.items(), key=lambda item: (item[1].at.pack, item[1].at.offset))
    read: dict[ObjectId, bytes | PtmError] = {}
    group: list[tuple[ObjectId, _Place]] = []
    for item in ordered:
        if group and not _joins(group, item[1].at):
            read |= _read_group(channel, group)
            group = []
        group.append(item)
    return read | (_read_group(channel, group) if group else {})


def _joins(group: list[tuple[ObjectId, _Place]], at: Location) -> bool:
    first, last = group[0][1].at, group[-1][1].at
    near = at.offset <= last.offset + last.length + _GAP and at.offset + at.length - first.offset <= _MOST
    return at.pack == first.pack and near


def _read_group(channel: OpenChannel, group: list[tuple[ObjectId, _Place]]) -> dict[ObjectId, bytes | PtmError]:
    first, last = group[0][1].at, group[-1][1].at
    path = pack_path(first.pack)
    try:
        data = channel.reader.read_range(path, first.offset, last.offset + last.length - first.offset)
    except PtmError as error:
        return {identifier: error for identifier, _ in group}
    return {identifier: _decode(identifier, place, data, first.offset, path) for identifier, place in group}


def _decode(identifier: ObjectId, place: _Place, data: bytes, start: int, path: str) -> bytes | PtmError:
    at = place.at
    payload = data[at.offset - start : at.offset - start + at.length]
    try:
        found = codecs.decode(at.codec, payload, place.size)
    except PtmError as error:
        return error
    if object_id(found) != identifier:
        return IntegrityError(f"`{path}` has wrong bytes for the object `{identifier}`")
    return found
