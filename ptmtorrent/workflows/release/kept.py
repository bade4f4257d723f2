"""Finds the members whose rows, documents and tables a release carries over from the previous one, unchanged.

A member is kept if its newest capture says the same of it, and every pack of its placement is still in the store with
nothing in it that may not be passed on. Its documents are read from the channel, where their hash proves them.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from ptmtorrent.catalogue.columns import facts_of
from ptmtorrent.catalogue.index import Described, describe_members
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.model.ids import PackageName, PackId
from ptmtorrent.model.manifest import Capture, Manifest
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.placement import Placement
from ptmtorrent.model.release import Member


class Kept(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A member that is carried over: its capture, its row, and its documents."""

    capture: Capture
    row: MemberRow
    manifest: Manifest
    placement: Placement


def find_kept(
    before: EarlierRuns, chosen: Sequence[Capture], reader: OwnReader, *, held: Callable[[PackId], bool]
) -> Iterator[Kept]:
    """Yield the members of the previous release that are kept; `held` says whether a pack is here and may be carried.

    A member whose documents cannot be read is made anew.
    """
    captures = {capture.package: capture for capture in chosen}
    members: list[Member] = []
    for package, place in before.members():
        capture, row = captures.get(package), before.row(place)
        if capture is not None and capture.snapshot == row.snapshot:
            members.append(Member(row=row, documents=before.documents(place.run, row)))
    members.sort(key=lambda member: (member.documents.path, member.row.frame.offset if member.row.frame else 0))
    for described in describe_members(members, reader):
        if (kept := _kept(captures[described.member.package], described, held)) is not None:
            yield kept


def find_refused(
    before: EarlierRuns, chosen: Sequence[Capture], may_pass_on: Callable[[MemberRow], bool]
) -> frozenset[int]:
    """Return the runs with a row that may not be passed on: of a snapshot, or of a name that no member has."""
    names: set[PackageName] = {capture.package for capture in chosen}
    return frozenset(
        run
        for run in range(len(before.refs))
        if any(
            row.package not in names or not (row.frame is None or may_pass_on(row)) for _, row in before.rows_of(run)
        )
    )


def _kept(capture: Capture, described: Described, held: Callable[[PackId], bool]) -> Kept | None:
    manifest, placement = described.manifest, described.placement
    if manifest is None or placement is None:
        return None
    if facts_of(capture, manifest) != described.member.row.facts or not all(map(held, placement.packs)):
        return None
    return Kept(capture=capture, row=described.member.row, manifest=manifest, placement=placement)
