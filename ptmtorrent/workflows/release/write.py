"""Writes everything of a release but its signatures: index, subsets, tables, volumes, policy and `release.json`.

All of it is durable below an unfinished name before one rename makes it `releases/<name>/`.
"""

import shutil
from pathlib import Path

import msgspec

from ptmtorrent import __version__
from ptmtorrent.catalogue.runs import EarlierRuns
from ptmtorrent.catalogue.tables import EarlierTables, TableWriter
from ptmtorrent.channel.folder import OwnReader, check_listed
from ptmtorrent.channel.paths import POLICY_FILE, RELEASE_FILE, TABLES, release_folder, unfinished_folder
from ptmtorrent.disk import durable
from ptmtorrent.errors import NotFound, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, ReleaseName
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.model.release import (
    MAX_RELEASE_BYTES,
    FileRef,
    Release,
    SubsetRef,
    TableRef,
    Totals,
    content_root,
    decode_release,
    placement_root,
)
from ptmtorrent.model.subset import POPULAR
from ptmtorrent.progress import new_meter
from ptmtorrent.store.maintenance.references import References
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History
from ptmtorrent.workflows.release.alone import is_current
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.index import (
    Changes,
    DocumentWriter,
    ReleaseFolder,
    WrittenIndex,
    write_index,
    write_subset,
)
from ptmtorrent.workflows.release.kept import find_kept, find_refused
from ptmtorrent.workflows.release.locate import places_of
from ptmtorrent.workflows.release.members import Member, make_members
from ptmtorrent.workflows.release.plan import Plan
from ptmtorrent.workflows.release.select import INCLUDE_HINT
from ptmtorrent.workflows.release.stats import Tallies, Tally
from ptmtorrent.workflows.release.volumes import NeededPacks, write_volumes

PACKAGES_TABLE, FILES_TABLE = "packages", "files"
WRITTEN_BY = f"ptmtorrent {__version__}"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a release before anything is written: its name, its place, what came before, and its plan."""

    name: ReleaseName
    channel: Path
    history: History
    plan: Plan
    created: str
    monotonic: Monotonic
    emit: Emit

    @property
    def unfinished(self) -> Path:
        """The folder it is written in."""
        return self.channel / unfinished_folder(self.name)


def write_folder(store: Store, draft: Draft) -> list[str]:
    """Write `releases/<name>/` and the packs and torrents it names; return the packages that are not complete.

    Raises:
        NotFound: no package may be redistributed.
        StoreError: no package is complete, or something cannot be written.
        IntegrityError: a torrent of the previous release is damaged.
    """
    store.seal()
    _remove(draft.unfinished)
    with References() as references:
        return _write_parts(store, draft, Carried(store, references))


def _write_parts(store: Store, draft: Draft, carried: Carried) -> list[str]:
    previous = draft.history.newest
    before = EarlierRuns(previous, OwnReader(draft.channel))
    tallies = Tallies(draft.plan.rules)
    folder = ReleaseFolder(
        path=draft.unfinished,
        channel_path=release_folder(draft.name),
        before=() if previous is None else previous.listed,
    )
    with (
        TableWriter(draft.unfinished / TABLES, draft.history.next_sequence) as tables,
        DocumentWriter(folder, draft.channel) as documents,
    ):
        found = _collect(store, draft, carried, before, tables=tables, documents=documents, tallies=tallies)
        tallies.finish({})
        names, subsets = _write_subsets(folder, found.members, tallies)
        index = write_index(folder, documents, before, found.changes, names.get(POPULAR.name, frozenset()))
        table_refs = _write_tables(draft, folder, tables, index)
    needed = NeededPacks(
        packs=frozenset(tallies.whole.packs),
        rights=max((member.capture.rights for member in found.members), key=RIGHTS.index),
    )
    volumes = write_volumes(store, draft.channel, needed, previous, carried)
    release = Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=draft.name,
        sequence=draft.history.next_sequence,
        previous=draft.history.newest_hash,
        created=draft.created,
        written_by=WRITTEN_BY,
        content_root=content_root(draft.name, index.members_root, subsets),
        placement_root=placement_root(index.runs, index.tree, table_refs, volumes),
        members_root=index.members_root,
        runs=index.runs,
        tree=index.tree,
        tables=table_refs,
        subsets=subsets,
        volumes=volumes,
        totals=_totals(tallies.whole),
        files=_write_policy(draft, folder),
    )
    _finish(draft, release)
    return found.failed


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a release by name, how they differ from those before, and the packages that are not complete."""

    members: list[Member]
    changes: Changes
    failed: list[str]


def _collect(  # noqa: PLR0913  # where it is read from, and everything it is counted and written in
    store: Store,
    draft: Draft,
    carried: Carried,
    before: EarlierRuns,
    *,
    tables: TableWriter,
    documents: DocumentWriter,
    tallies: Tallies,
) -> _Found:
    chosen, captured = draft.plan.chosen, len(draft.plan.decided)
    meter = new_meter("release", draft.emit, draft.monotonic, packages_total=captured)
    meter.add(packages=captured - len(chosen))
    carried.add(chosen, lambda capture: draft.plan.selection.decide(capture).left_out is None)
    carried.separate()
    packs, limit = frozenset(store.packs()), draft.plan.selection.policy.lone_limit
    members: dict[PackageName, Member] = {}
    for kept in find_kept(
        before, chosen, OwnReader(draft.channel), held=lambda pack: pack in packs and carried.is_clean(pack)
    ):
        places = places_of(kept.placement)
        if not is_current(kept.manifest, places, limit):
            continue
        documents_bytes = kept.row.frame.length if kept.row.frame else 0
        tallies.add_package(kept.capture, kept.manifest, places, documents=documents_bytes)
        members[kept.capture.package] = Member(capture=kept.capture, row=kept.row)
        meter.add(bytes=kept.row.raw, packages=1)
    others = [capture for capture in chosen if capture.package not in members]
    fresh: dict[PackageName, MemberRow] = {}
    failed: list[str] = []
    for outcome in make_members(
        store, others, tables=tables, documents=documents, tallies=tallies, carried=carried, limit=limit
    ):
        if isinstance(outcome, Result):
            draft.emit(outcome)
            failed.append(outcome.id)
            meter.add(packages=1)
        else:
            fresh[outcome.row.package] = outcome.row
            members[outcome.row.package] = outcome
            meter.add(bytes=outcome.row.raw, packages=1)
    meter.finish()
    check_not_empty(draft.plan, draft.name, len(members))
    gone = frozenset(package for package, _ in before.members() if package not in members)
    changes = Changes(
        fresh=fresh,
        gone=gone,
        named=gone & {capture.package for capture in chosen},
        refused=find_refused(before, chosen, lambda row: carried.may_pass_on(row.snapshot)),
        members=len(members),
    )
    return _Found(members=[members[name] for name in sorted(members)], changes=changes, failed=failed)


def _write_tables(
    draft: Draft, folder: ReleaseFolder, tables: TableWriter, index: WrittenIndex
) -> tuple[TableRef, ...]:
    """Write the files of the new run, if there is one, and list those of the runs that stay."""
    previous = draft.history.newest
    earlier = {name: () if previous is None else previous.table(name) for name in (PACKAGES_TABLE, FILES_TABLE)}
    new: dict[str, tuple[FileRef, ...]] = dict.fromkeys(earlier, ())
    if index.has_new:
        for package in index.removed:
            tables.remove(package)
        taken = [
            EarlierTables(
                packages=check_listed(draft.channel, earlier[PACKAGES_TABLE][run]),
                files=check_listed(draft.channel, earlier[FILES_TABLE][run]),
                taken=packages,
            )
            for run, packages in index.taken.items()
            if packages
        ]
        new = {path.stem: (folder.refer(f"{TABLES}/{path.name}"),) for path in tables.finish(taken)}
    return tuple(
        TableRef(name=name, files=(*(files[run] for run in index.kept), *new[name])) for name, files in earlier.items()
    )


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


def _write_policy(draft: Draft, folder: ReleaseFolder) -> dict[str, FileRef]:
    policy = draft.plan.selection.policy
    return {} if policy.is_empty else {"policy": folder.write(POLICY_FILE, canonical.encode(policy))}


def _write_subsets(
    folder: ReleaseFolder, members: list[Member], tallies: Tallies
) -> tuple[dict[str, frozenset[PackageName]], tuple[SubsetRef, ...]]:
    """Write the names of the members of every subset; return them, and the subsets."""
    names: dict[str, frozenset[PackageName]] = {}
    subsets: list[SubsetRef] = []
    for rule, tally in tallies.subsets:
        chosen = [member.row.package for member in members if rule.takes(member.capture)]
        names[rule.name] = frozenset(chosen)
        subsets.append(
            SubsetRef(
                name=rule.name,
                query=rule.query,
                only=rule.only,
                packages=tally.packages,
                files=tally.files,
                bytes=tally.raw,
                stored=tally.stored,
                packs_bytes=tally.packs_bytes,
                members=None if len(chosen) == len(members) else write_subset(folder, rule.name, chosen),
            )
        )
    return names, tuple(subsets)


def _totals(whole: Tally) -> Totals:
    return Totals(
        packages=whole.packages,
        files=whole.files,
        raw=whole.raw,
        stored=whole.stored,
        packs=len(whole.packs),
        packs_bytes=whole.packs_bytes,
    )


def _finish(draft: Draft, release: Release) -> None:
    """Write `release.json` as the last file and give the folder its name, if a reader will accept what it says."""
    data = canonical.encode(release)
    decode_release(data)
    if len(data) > MAX_RELEASE_BYTES:
        raise StoreError(f"release.json of `{draft.name}` would be {len(data)} bytes, more than readers accept")
    durable.write_file(draft.unfinished / RELEASE_FILE, data)
    target = draft.channel / release_folder(draft.name)
    with durable.disk_errors(target):
        draft.unfinished.rename(target)
    durable.sync_dir(target.parent)


def _remove(folder: Path) -> None:
    with durable.disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
