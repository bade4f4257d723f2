"""What is known of the previous release, so that the next one looks at new captures alone.

It is known which captures were considered, what was left out, which packs may be carried, and how the members use them
(`state/release_state.py`). As long as the same selection decides, no capture and no pack is gone, and every new capture
is of a package that is taken in or never was, all other members are what they were. Whatever else happened, nothing is
known, and every package is compared: the release is the same, byte for byte.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import msgspec
from blake3 import blake3

from ptmtorrent import __version__
from ptmtorrent.catalogue.columns import facts_of
from ptmtorrent.catalogue.index import describe_members
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.channel.folder import OwnReader, read_release, read_volume_packs
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.facts import licence_rules
from ptmtorrent.model import canonical
from ptmtorrent.model.canonical import HASH_BYTES
from ptmtorrent.model.ids import ObjectId, PackageName, PackId
from ptmtorrent.model.manifest import Capture, Manifest, Rights
from ptmtorrent.model.members import MemberRow, parse_names
from ptmtorrent.model.pack_use import PackUse, decode_use
from ptmtorrent.model.placement import Placement
from ptmtorrent.model.records import Event
from ptmtorrent.model.release import Member, Release, SubsetRef
from ptmtorrent.model.subset import SubsetRule
from ptmtorrent.paths import Home
from ptmtorrent.state.release_state import PackState, ReleaseState, state_of
from ptmtorrent.store.codecs import streams
from ptmtorrent.store.contents import CaptureMark
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History
from ptmtorrent.workflows.release.carried import Undecided
from ptmtorrent.workflows.release.collect import Collected, Sources, frame_bytes, make_fresh
from ptmtorrent.workflows.release.index import Changes
from ptmtorrent.workflows.release.locate import places_of
from ptmtorrent.workflows.release.plan import Plan, Request, compare, judge_before, rules_for, select
from ptmtorrent.workflows.release.select import LeftOut, Selection, announce, left_out
from ptmtorrent.workflows.release.stats import Tallies, Tally

_FACTS = "facts"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known: of which `release.json`, decided by what; the captures, what was left out, strictest rights."""

    release: str
    selection: str
    mark: CaptureMark
    captured: int
    left_out: tuple[LeftOut, ...]
    rights: Rights


class Replaced(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A member of the previous release that was captured again: its capture then, and its documents."""

    capture: Capture
    row: MemberRow
    manifest: Manifest
    placement: Placement


class Recalled(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What is known of the previous release, the plan of what was captured since, and what that replaces.

    `said` is what a plan of all packages would say.
    """

    facts: Facts
    plan: Plan
    captures: Sequence[tuple[ObjectId, Capture]]
    packs: Mapping[PackId, PackState]
    replaced: Mapping[PackageName, Replaced]
    before: EarlierRuns
    left_out: tuple[LeftOut, ...]
    said: list[Event]

    def is_known(self, store: Store, pack: PackId) -> bool:
        """Return whether a pack may be carried, because it could and has not changed."""
        known = self.packs.get(pack)
        return known is not None and state_of(store.pack_file(pack)) == known.file


def recall(request: Request, history: History) -> Recalled | None:
    """Return what is known of the previous release; None if it is not enough. Nothing is said yet.

    Raises:
        IntegrityError, NotFound, StoreError: a file of the previous release is damaged, missing, or cannot be read.
    """
    previous, said = history.newest, list[Event]()
    if previous is None:
        return None
    quiet = replace(request, emit=said.append)
    with ReleaseState(request.home.release_state) as state:
        facts, packs = _read_facts(state), state.packs()
    if facts is None or facts.release != history.newest_hash:
        return None
    selection = select(quiet, previous)
    captures = request.store.contents.captures_since(facts.mark)
    if captures is None or facts.selection != _digest(request, selection) or not _are_here(request.store, packs):
        return None
    decided = [selection.decide(capture) for capture in _newest(captures)]
    before = EarlierRuns(previous if decided else None, OwnReader(request.home.channel))
    out = {each.capture.package for each in decided if each.left_out is not None}
    if any(package in before.newest for package in out):
        return None
    replaced = _find_replaced(request, selection, before, [each.capture for each in decided if each.left_out is None])
    if replaced is None or (replaced and facts.rights != RIGHTS[0]):
        return None
    fresh = {each.capture.package for each in decided}
    all_out = [*(each for each in facts.left_out if each.package not in fresh), *left_out(decided)]
    known = {each.package for each in facts.left_out}
    new = sum(package not in known and package not in replaced for package in fresh)
    plan = Plan(
        decided=tuple(decided),
        selection=selection,
        rules=rules_for(request, selection),
        before=judge_before(
            request.home.channel,
            previous,
            ((package, each.capture.licence, each.capture.rights) for package, each in replaced.items()),
        ),
        captured=facts.captured + new,
    )
    all_out.sort(key=lambda each: each.package)
    announce(all_out, quiet.emit)
    compare(plan, quiet.emit)
    return Recalled(
        facts=facts,
        plan=plan,
        captures=captures,
        packs=packs,
        replaced=replaced,
        before=before,
        left_out=tuple(all_out),
        said=said,
    )


def collect_changed(sources: Sources, recalled: Recalled, previous: Release, home: Home) -> Collected:
    """Make the members anew that were captured since the previous release, and add them to its counts.

    Raises:
        Undecided: what is known does not suffice: a package is not complete, or needs a pack that holds more.
        StoreError: something cannot be written.
        IntegrityError: a file of the previous release is damaged.
    """
    plan, replaced = recalled.plan, recalled.replaced
    tallies = Tallies(plan.rules, _start(previous, plan.rules, recalled.packs))
    sources.carried.add(plan.chosen, lambda capture: plan.selection.decide(capture).left_out is None, recalled.captures)
    sources.meter.add(packages=plan.captured - len(plan.chosen))
    fresh, failed = make_fresh(sources, plan.chosen, tallies, plan)
    if failed:
        raise Undecided(failed[0])
    for each in replaced.values():
        tallies.add_package(
            each.capture, each.manifest, places_of(each.placement), documents=frame_bytes(each.row), sign=-1
        )
    sources.meter.finish()
    with ReleaseState(home.release_state) as state:
        uses = tallies.finish(_uses(state, tallies.uses.packs()))
    members = previous.totals.packages + len(fresh) - len(replaced)
    names = {
        rule.name: _names(
            sources,
            previous,
            rule,
            recalled,
            [package for package, member in fresh.items() if rule.takes(member.capture)],
        )
        for rule in tallies.rules
    }
    return Collected(
        changes=Changes(
            fresh={package: member.row for package, member in fresh.items()},
            gone=frozenset(),
            named=frozenset(),
            refused=frozenset(),
            members=members,
        ),
        names=names,
        tallies=tallies,
        uses=uses,
        rights=max([recalled.facts.rights, *(member.capture.rights for member in fresh.values())], key=RIGHTS.index),
        failed=[],
        scans={package: member.capture.scan for package, member in fresh.items()},
    )


def remember(request: Request, made: Release, plan: Plan, found: Collected, recalled: Recalled | None) -> None:
    """Remember what is known of the release `made`, which consists of what was `found`.

    Nothing is, if a package is not complete, the policy names packages, or a member is closed on its hub.

    Raises:
        IntegrityError, StoreError: a torrent is damaged, or something cannot be read or written.
    """
    selection, channel = plan.selection, request.home.channel
    policy = selection.policy
    out = tuple(left_out(plan.decided)) if recalled is None else recalled.left_out
    closed = selection.closed.keys() - {each.package for each in out}
    named = any(":" in key for key in (*policy.include, *policy.exclude, *policy.licences))
    packs = {pack for volume in made.volumes for pack, _ in read_volume_packs(channel, made, volume)}
    changed = _changed_packs(request.store, packs, found, {} if recalled is None else recalled.packs)
    with ReleaseState(request.home.release_state) as state:
        if found.failed or closed or named or changed is None:
            state.forget()
            return
        facts = Facts(
            release=blake3(read_release(channel, made.name)[0]).hexdigest(),
            selection=_digest(request, selection),
            mark=request.store.contents.mark_captures(),
            captured=plan.captured,
            left_out=out,
            rights=found.rights,
        )
        kept = set() if recalled is None else recalled.packs.keys() & packs
        state.write({_FACTS: msgspec.json.encode(facts)}, changed, others=kept)


def _changed_packs(
    store: Store, packs: Collection[PackId], found: Collected, known: Mapping[PackId, PackState]
) -> dict[PackId, PackState] | None:
    """Return the packs that are new or used otherwise than is known; None if one cannot be read."""
    changed: dict[PackId, PackState] = {}
    for pack in packs:
        use = found.uses.get(pack)
        if use is None and pack in known:
            continue
        file = state_of(store.pack_file(pack))
        if file is None:
            return None
        changed[pack] = PackState(file, 0) if use is None else PackState(file, use.used, _shrink(use.encode()))
    return changed


def _read_facts(state: ReleaseState) -> Facts | None:
    data = state.facts().get(_FACTS)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Facts)
    except msgspec.DecodeError:
        return None


def _digest(request: Request, selection: Selection) -> str:
    """Hash everything that decides about a capture and what is written of it, this program's version too."""
    rules = [[rule.name, rule.query, list(rule.only)] for rule in rules_for(request, selection)]
    licences = [licence_rules.OPEN, licence_rules.RESTRICTED, licence_rules.UNKNOWN]
    decides = [
        __version__,
        sorted(selection.include),
        selection.allow_incomplete,
        selection.policy,
        dict(selection.closed),
        dict(selection.withdrawn),
        rules,
        licences,
    ]
    return blake3(canonical.encode(decides)).hexdigest()


def _are_here(store: Store, packs: Mapping[PackId, PackState]) -> bool:
    held = store.contents.packs()
    return all(pack in held and state_of(store.pack_file(pack)) == known.file for pack, known in packs.items())


def _newest(captures: Sequence[tuple[ObjectId, Capture]]) -> list[Capture]:
    """Return the newest of the captures of each package, by package."""
    newest: dict[PackageName, Capture] = {}
    for _, capture in captures:
        if capture.package not in newest or newest[capture.package].order < capture.order:
            newest[capture.package] = capture
    return [newest[package] for package in sorted(newest)]


def _find_replaced(
    request: Request, selection: Selection, before: EarlierRuns, captures: Sequence[Capture]
) -> dict[PackageName, Replaced] | None:
    """Return the members of the previous release that were captured again; None if one is not known any more."""
    places = {each.package: before.newest[each.package] for each in captures if before.is_member(each.package)}
    if not places:
        return {}
    older: dict[tuple[PackageName, str], list[Capture]] = {}
    for capture in request.store.contents.captures_of(places):
        older.setdefault((capture.package, capture.snapshot), []).append(selection.decide(capture).capture)
    rows = {package: before.row(place) for package, place in places.items()}
    members = [Member(row=row, documents=before.documents(places[name].run, row)) for name, row in rows.items()]
    members.sort(key=lambda member: (member.documents.path, member.row.frame.offset if member.row.frame else 0))
    found: dict[PackageName, Replaced] = {}
    for each in describe_members(members, OwnReader(request.home.channel)):
        row, manifest, placement = each.member.row, each.manifest, each.placement
        if manifest is None or placement is None:
            return None
        same = [one for one in older.get((row.package, row.snapshot), ()) if facts_of(one, manifest) == row.facts]
        if not same:
            return None
        found[row.package] = Replaced(capture=same[0], row=row, manifest=manifest, placement=placement)
    return found


def _start(previous: Release, rules: Sequence[SubsetRule], packs: Mapping[PackId, PackState]) -> list[Tally]:
    """Return the sums of the previous release: of all of it, and of each subset by the name of its rule.

    Raises:
        Undecided: what is known of its packs contradicts it.
    """
    totals = previous.totals
    whole = Tally(totals.packages, totals.files, totals.raw, totals.stored, _used(packs, 0))
    tallies = [whole]
    for number, rule in enumerate(sorted(rules, key=lambda rule: rule.name), 1):
        subset = _subset(previous, rule)
        used = _used(packs, number)
        tallies.append(Tally(subset.packages, subset.files, subset.bytes, subset.stored, used))
        if tallies[-1].packs_bytes != subset.packs_bytes:
            raise Undecided(rule.name)
    if (len(whole.packs), whole.packs_bytes) != (totals.packs, totals.packs_bytes):
        raise Undecided(previous.name)
    return tallies


def _subset(previous: Release, rule: SubsetRule) -> SubsetRef:
    try:
        return previous.subset(rule.name)
    except NotFound as error:
        raise Undecided(rule.name) from error


def _used(packs: Mapping[PackId, PackState], tally: int) -> dict[PackId, int]:
    return {pack: state.file.size for pack, state in packs.items() if state.used >> tally & 1}


def _uses(state: ReleaseState, packs: Sequence[PackId]) -> dict[PackId, PackUse]:
    found: dict[PackId, PackUse] = {}
    for pack in packs:
        data = state.use_of(pack)
        if data is not None:
            try:
                found[pack] = decode_use(_expand(data))
            except IntegrityError as error:
                raise Undecided(pack) from error
    return found


def _names(
    sources: Sources, previous: Release, rule: SubsetRule, recalled: Recalled, taken: Collection[PackageName]
) -> Collection[PackageName] | None:
    """Return the members of a subset, None for every package: those before, and those `taken` of the new ones."""
    subset, again = _subset(previous, rule), recalled.replaced.keys()
    if subset.members is not None:
        data = read_listed(sources.reader, previous, subset.members)
        return {*parse_names(data, subset.members.path)} - again | {*taken}
    if len(taken) == len(recalled.plan.chosen):
        return None
    return {package for package, _ in recalled.before.members()} - again | {*taken}


def _shrink(data: bytes) -> bytes:
    return blake3(data).digest() + len(data).to_bytes(8, "little") + streams.shrink_general(memoryview(data))


def _expand(data: bytes) -> bytes:
    """Return what was shrunk. Raises `IntegrityError` if it is damaged."""
    digest, size, payload = data[:HASH_BYTES], data[HASH_BYTES : HASH_BYTES + 8], memoryview(data)[HASH_BYTES + 8 :]
    found = streams.expand(payload, int.from_bytes(size, "little"))
    if blake3(found).digest() != digest:
        raise IntegrityError("the uses of a pack are damaged")
    return found
