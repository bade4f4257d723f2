"""Collects the members of a release: those that are kept, and those that are made anew; counts all of them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import NotFound, StoreError
from ptmtorrent.model.findings import Scan
from ptmtorrent.model.ids import PackageName, PackId, ReleaseName
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.pack_use import PackUse
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.progress import Meter
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.release.alone import is_current
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.index import Changes, DocumentWriter
from ptmtorrent.workflows.release.kept import find_kept, find_refused
from ptmtorrent.workflows.release.locate import places_of
from ptmtorrent.workflows.release.members import Member, make_members
from ptmtorrent.workflows.release.plan import Plan
from ptmtorrent.workflows.release.select import INCLUDE_HINT
from ptmtorrent.workflows.release.stats import Tallies


class Collected(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What a release consists of.

    `names` are the members of each subset, None for every package; `uses` are the packs whose uses are not those of the
    previous release, `rights` are the strictest of a member, and `failed` the packages that are not complete. `scans`
    are those of all members, or, where the previous release is known, of the new ones.
    """

    changes: Changes
    names: Mapping[str, Collection[PackageName] | None]
    tallies: Tallies
    uses: Mapping[PackId, PackUse]
    rights: Rights
    failed: list[str]
    scans: Mapping[PackageName, Scan | None]


class Sources(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where members are read from, and what they are written to."""

    store: Store
    reader: OwnReader
    before: EarlierRuns
    carried: Carried
    tables: TableWriter
    documents: DocumentWriter
    meter: Meter
    emit: Emit


def collect_all(sources: Sources, plan: Plan, name: ReleaseName) -> Collected:
    """Compare every package with the previous release, make those anew that changed, and count all.

    Raises:
        NotFound: no package may be redistributed.
        StoreError: nothing is complete, or something cannot be written.
        IntegrityError: a file of the previous release is damaged.
    """
    store, before, carried = sources.store, sources.before, sources.carried
    chosen, tallies = plan.chosen, Tallies(plan.rules)
    sources.meter.add(packages=plan.captured - len(chosen))
    carried.add(chosen, lambda capture: plan.selection.decide(capture).left_out is None)
    carried.separate()
    packs = frozenset(store.packs())
    kept = _kept(sources, plan, tallies, lambda pack: pack in packs and carried.is_clean(pack))
    members = {member.row.package: member for member in kept}
    others = [capture for capture in chosen if capture.package not in members]
    fresh, failed = make_fresh(sources, others, tallies, plan)
    members |= fresh
    sources.meter.finish()
    check_not_empty(plan, name, len(members))
    gone = frozenset(package for package, _ in before.members() if package not in members)
    changes = Changes(
        fresh={package: member.row for package, member in fresh.items()},
        gone=gone,
        named=gone & {capture.package for capture in chosen},
        refused=find_refused(before, chosen, lambda row: carried.may_pass_on(row.snapshot)),
        members=len(members),
    )
    names: dict[str, Collection[PackageName] | None] = {}
    for rule in tallies.rules:
        taken = [package for package, member in members.items() if rule.takes(member.capture)]
        names[rule.name] = None if len(taken) == len(members) else taken
    rights = max((member.capture.rights for member in members.values()), key=RIGHTS.index)
    uses = tallies.finish({})
    return Collected(
        changes=changes,
        names=names,
        tallies=tallies,
        uses=uses,
        rights=rights,
        failed=failed,
        scans={package: member.capture.scan for package, member in members.items()},
    )


def make_fresh(
    sources: Sources, captures: Sequence[Capture], tallies: Tallies, plan: Plan
) -> tuple[dict[PackageName, Member], list[str]]:
    """Make the members of `captures` anew; return them, and the packages that are not complete, with a record each.

    The selection of `plan` says what a package may cost when it is fetched alone, and whether it has to be complete.
    """
    fresh: dict[PackageName, Member] = {}
    failed: list[str] = []
    for outcome in make_members(
        sources.store,
        captures,
        tables=sources.tables,
        documents=sources.documents,
        tallies=tallies,
        carried=sources.carried,
        limit=plan.selection.policy.lone_limit,
        allow_incomplete=plan.selection.allow_incomplete,
    ):
        if isinstance(outcome, Result):
            sources.emit(outcome)
            failed.append(outcome.id)
            sources.meter.add(packages=1)
        else:
            fresh[outcome.row.package] = outcome
            sources.meter.add(bytes=outcome.row.raw, packages=1)
    return fresh, failed


def check_not_empty(plan: Plan, name: ReleaseName, members: int) -> None:
    """Refuse a release without a member.

    Raises:
        NotFound: no package may be redistributed; StoreError: nothing is complete.
    """
    if not plan.chosen:
        raise NotFound(
            f"none of the {len(plan.decided)} captured packages may be redistributed; release `{name}` was not made",
            hint=INCLUDE_HINT,
        )
    if not members:
        raise StoreError(
            f"none of the {len(plan.chosen)} captured packages is complete; release `{name}` was not made",
            hint="capture them again: ptmtorrent clone huggingface",
        )


def frame_bytes(row: MemberRow) -> int:
    """Return the bytes of the documents of a member."""
    return 0 if row.frame is None else row.frame.length


def _kept(sources: Sources, plan: Plan, tallies: Tallies, held: Callable[[PackId], bool]) -> Iterator[Member]:
    for kept in find_kept(sources.before, plan.chosen, sources.reader, held=held):
        places = places_of(kept.placement)
        if not is_current(kept.manifest, places, plan.selection.policy.lone_limit):
            continue
        if kept.manifest.missing and not plan.selection.allow_incomplete:
            continue
        tallies.add_package(kept.capture, kept.manifest, places, documents=frame_bytes(kept.row))
        sources.meter.add(bytes=kept.row.raw, packages=1)
        yield Member(capture=kept.capture, row=kept.row)
