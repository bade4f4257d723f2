"""Writes everything of a release but its signatures: index, subsets, tables, volumes, policy and `release.json`.

All of it is durable below an unfinished name before one rename makes it `releases/<name>/`.
"""

import shutil
from pathlib import Path

import msgspec
from blake3 import blake3

from ptmtorrent import __version__
from ptmtorrent.catalogue.tables import TableWriter
from ptmtorrent.channel.paths import POLICY_FILE, RELEASE_FILE, release_folder, unfinished_folder
from ptmtorrent.disk import durable
from ptmtorrent.errors import NotFound, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.model.release import (
    MAX_RELEASE_BYTES,
    FileRef,
    Release,
    SubsetRef,
    Totals,
    content_root,
    decode_release,
    placement_root,
)
from ptmtorrent.progress import new_meter
from ptmtorrent.store.maintenance.references import References
from ptmtorrent.store.pack.format import RIGHTS
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History
from ptmtorrent.workflows.release.carried import Carried
from ptmtorrent.workflows.release.index import Pages, Rows, write_index, write_listed, write_subset
from ptmtorrent.workflows.release.members import Member, make_members, placement_rows
from ptmtorrent.workflows.release.plan import Plan
from ptmtorrent.workflows.release.select import INCLUDE_HINT
from ptmtorrent.workflows.release.stats import Tallies, Tally
from ptmtorrent.workflows.release.volumes import NeededPacks, write_volumes

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
    tallies = Tallies(draft.plan.rules)
    with TableWriter(draft.unfinished / "tables") as tables:
        members, failed = _collect(store, draft, tables, tallies, carried)
        written = tables.finish()
    store.seal()
    carried.add_placements([member.placement for member in members])
    rows = list(zip((member.content for member in members), placement_rows(store, members, tallies), strict=True))
    bits, index = write_index(draft.unfinished, rows)
    subsets = _write_subsets(draft, members, rows, index, tallies)
    needed = NeededPacks(
        packs=frozenset(tallies.whole.packs),
        rights=max((member.capture.rights for member in members), key=RIGHTS.index),
    )
    volumes = write_volumes(store, draft.channel, needed, draft.history.newest, carried)
    table_refs = tuple(_refer(draft.unfinished, path) for path in written)
    release = Release(
        format=Release.FORMAT,
        version=Release.VERSION,
        requires=(),
        name=draft.name,
        sequence=draft.history.next_sequence,
        previous=draft.history.newest_hash,
        created=draft.created,
        written_by=WRITTEN_BY,
        content_root=content_root(draft.name, index.content, table_refs, subsets),
        placement_root=placement_root(index.placement, subsets, volumes),
        shard_bits=bits,
        content=index.content,
        placement=index.placement,
        tables=table_refs,
        subsets=subsets,
        volumes=volumes,
        totals=_totals(tallies.whole),
        policy=_write_policy(draft),
    )
    _finish(draft, release)
    return failed


def _collect(
    store: Store, draft: Draft, tables: TableWriter, tallies: Tallies, carried: Carried
) -> tuple[list[Member], list[str]]:
    chosen, captured = draft.plan.chosen, len(draft.plan.decided)
    meter = new_meter("release", draft.emit, draft.monotonic, packages_total=captured)
    meter.add(packages=captured - len(chosen))
    carried.add(chosen, lambda capture: draft.plan.selection.decide(capture).left_out is None)
    carried.separate()
    members: list[Member] = []
    failed: list[str] = []
    for outcome in make_members(store, chosen, tables, tallies, carried):
        if isinstance(outcome, Result):
            draft.emit(outcome)
            failed.append(outcome.id)
            meter.add(packages=1)
        else:
            members.append(outcome)
            meter.add(bytes=outcome.content.raw, packages=1)
    meter.finish()
    check_not_empty(draft.plan, draft.name, len(members))
    return members, failed


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


def _write_policy(draft: Draft) -> FileRef | None:
    policy = draft.plan.selection.policy
    return None if policy.is_empty else write_listed(draft.unfinished, POLICY_FILE, canonical.encode(policy))


def _write_subsets(
    draft: Draft,
    members: list[Member],
    rows: Rows,
    index: Pages,
    tallies: Tallies,
) -> tuple[SubsetRef, ...]:
    subsets: list[SubsetRef] = []
    for rule, tally in tallies.subsets:
        chosen = [row for member, row in zip(members, rows, strict=True) if rule.takes(member.capture)]
        pages = index if len(chosen) == len(rows) else write_subset(draft.unfinished, rule.name, chosen)
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
                content=pages.content,
                placement=pages.placement,
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
    with durable.disk_errors(target):
        draft.unfinished.rename(target)
    durable.sync_dir(target.parent)


def _refer(folder: Path, path: Path) -> FileRef:
    with durable.disk_errors(path):
        digest = blake3().update_mmap(path).hexdigest()
        return FileRef(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, blake3=digest)


def _remove(folder: Path) -> None:
    with durable.disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
