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
from ptmtorrent.channel.unlisted import remove_empty
from ptmtorrent.disk import durable
from ptmtorrent.errors import StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit
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
from ptmtorrent.paths import Home
from ptmtorrent.progress import new_meter
from ptmtorrent.store.maintenance.references import References
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History
from ptmtorrent.workflows.release.alone import note_of_whole_forms
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.collect import Collected, Sources, collect_all
from ptmtorrent.workflows.release.findings import add_near_names, write_findings_files
from ptmtorrent.workflows.release.index import (
    DocumentWriter,
    ReleaseFolder,
    WrittenIndex,
    unchanged_index,
    write_index,
    write_subset,
)
from ptmtorrent.workflows.release.plan import Plan
from ptmtorrent.workflows.release.recall import Recalled, collect_changed
from ptmtorrent.workflows.release.stats import Tally
from ptmtorrent.workflows.release.volumes import NeededPacks, write_volumes

PACKAGES_TABLE, FILES_TABLE = "packages", "files"
CACHE_BYTES = 192 << 20
"""Memory for the table of references (192 MiB): those of four million objects."""

WRITTEN_BY = f"ptmtorrent {__version__}"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a release before anything is written: its name, its place, what came before, and its plan."""

    name: ReleaseName
    home: Home
    history: History
    plan: Plan
    created: str
    monotonic: Monotonic
    emit: Emit

    @property
    def channel(self) -> Path:
        """The home's own channel."""
        return self.home.channel

    @property
    def unfinished(self) -> Path:
        """The folder it is written in."""
        return self.channel / unfinished_folder(self.name)


def write_folder(store: Store, draft: Draft, recalled: Recalled | None = None) -> Collected:
    """Write `releases/<name>/` and the packs and torrents it names; return what the release consists of.

    With what is known of the previous release, only packages with new captures are looked at.

    Raises:
        Undecided: that is not enough, and nothing was written; only with `recalled`.
        NotFound: no package may be redistributed.
        StoreError: no package is complete, or something cannot be written.
        IntegrityError: a file of the previous release is damaged.
    """
    store.seal()
    _remove(draft.unfinished)
    with References(CACHE_BYTES) as references:
        known = None if recalled is None else lambda pack: recalled.is_known(store, pack)
        return _write_parts(store, draft, Carried(store, references, known), recalled)


def _write_parts(store: Store, draft: Draft, carried: Carried, recalled: Recalled | None) -> Collected:
    previous, reader = draft.history.newest, OwnReader(draft.channel)
    before = EarlierRuns(previous, reader) if recalled is None else recalled.before
    folder = ReleaseFolder(
        path=draft.unfinished,
        channel_path=release_folder(draft.name),
        before=() if previous is None else previous.listed,
    )
    meter = new_meter("release", draft.emit, draft.monotonic, packages_total=draft.plan.captured)
    with (
        TableWriter(draft.unfinished / TABLES, draft.history.next_sequence) as tables,
        DocumentWriter(folder, draft.channel) as documents,
    ):
        sources = Sources(
            store=store,
            reader=reader,
            before=before,
            carried=carried,
            tables=tables,
            documents=documents,
            meter=meter,
            emit=draft.emit,
        )
        if recalled is None or previous is None:
            found = collect_all(sources, draft.plan, draft.name)
        else:
            found = collect_changed(sources, recalled, previous, draft.home)
        subsets = _write_subsets(folder, found)
        if recalled is not None and previous is not None and not found.changes.fresh:
            index = unchanged_index(previous)
        else:
            index = write_index(folder, documents, before, found.changes, found.names.get(POPULAR.name) or ())
        table_refs = _write_tables(draft, folder, tables, index)
    scans = add_near_names(found.scans, found.names.get(POPULAR.name))
    found_files = write_findings_files(folder, draft.channel, previous if recalled is not None else None, scans)
    needed = NeededPacks(packs=frozenset(found.tallies.whole.packs), rights=found.rights)
    if note := note_of_whole_forms(store, found.tallies.whole.packs):
        draft.emit(note)
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
        totals=_totals(found.tallies.whole),
        files=_write_policy(draft, folder) | found_files,
    )
    _finish(draft, release)
    return found


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


def _write_policy(draft: Draft, folder: ReleaseFolder) -> dict[str, FileRef]:
    policy = draft.plan.selection.policy
    return {} if policy.is_empty else {"policy": folder.write(POLICY_FILE, canonical.encode(policy))}


def _write_subsets(folder: ReleaseFolder, found: Collected) -> tuple[SubsetRef, ...]:
    """Write the names of the members of every subset; return the subsets."""
    subsets: list[SubsetRef] = []
    for rule, tally in found.tallies.subsets:
        names = found.names[rule.name]
        if names is not None and len(names) == found.changes.members:
            names = None
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
                members=None if names is None else write_subset(folder, rule.name, names),
            )
        )
    return tuple(subsets)


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
    remove_empty(target)  # what an interrupted deletion may have left
    with durable.disk_errors(target):
        draft.unfinished.rename(target)
    durable.sync_dir(target.parent)


def _remove(folder: Path) -> None:
    with durable.disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
