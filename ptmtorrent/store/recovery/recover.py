"""Bring the index into agreement with the packs: after a crash, after files came or went, or from packs alone.

Readers go from the index to the packs, so recovery changes the index; packs are only read. Where nothing changed since
the last process ended, nothing is written.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from ptmtorrent.disk.durable import sync_dir
from ptmtorrent.model.ids import PackId
from ptmtorrent.store.index import STAGED_ROWS, Index
from ptmtorrent.store.pack.hashes import has_sidecars, sidecar_in
from ptmtorrent.store.pack.reader import has_parts, pack_in, packs_on_disk, remove_temporaries
from ptmtorrent.store.pack.writer import Part
from ptmtorrent.store.recovery.reindex import by_footer, by_scan, reindex, reindex_documents
from ptmtorrent.store.recovery.reopen import Reopened, committed_in, find_parts, reopen_parts


def recover_store(root: Path, index: Index, pool: Executor) -> list[Part]:
    """Make the index agree with the files on disk and recheck unsealed parts; return the parts, ready to be continued.

    No other process may write the store meanwhile. Of unsealed parts only the committed bytes are trusted, if their
    recorded hashes are right: other objects are decoded and hashed. A torn end is cut off; a part that is damaged
    before committed objects is salvaged to a new part. Only a committed delta may stay in its part without its base,
    because the pack of the base may come back. A damaged or missing run of the index is rebuilt from the packs.
    """
    remove_temporaries(root)
    here = packs_on_disk(root)
    is_listed = index.packs() or index.parts() or index.has_runs()
    if not (here or has_parts(root) or is_listed or has_sidecars(root)):
        return []
    with index.transaction():
        lengths = {part: state.length for part in index.parts() if (state := index.part_state(part)) is not None}
        unsound = set(index.drop_unsound_runs())
        files = find_parts(root, index)
        trusted = {file.path.name for file in files if file.trusted is not None}
        committed = {part: frozenset(index.entries(part)) for part in index.parts() if part not in trusted}
        dropped = {identifier for part in committed for identifier in index.drop(part)}
        committed = {
            part: entries or committed_in(root, part, lengths.get(part)) for part, entries in committed.items()
        }
        for pack in _lost(index, here):
            dropped |= index.drop(pack)
        known = index.packs()
        alone = not (known or unsound or committed or trusted or has_sidecars(root))
        fresh = [pack for pack in here if pack not in known]
        _make_durable(root, fresh)
        read = by_footer(root)
        parts, documents = reindex(root, index, fresh, read, partial(reopen_parts, root, index, pool, files, committed))
        index.drop_dependents(index.lacking(dropped))
        if unsound:
            index.drop_incomplete_captures()
        new = [pack for pack in documents if pack not in unsound]
        reindex_documents(root, index, new, read, parts, here.keys() if alone else ())
    index.settle(1 if unsound else STAGED_ROWS)
    index.remove_unlisted_runs()
    return [part for part, _ in parts]


def lost_packs(root: Path, index: Index) -> list[PackId]:
    """Return the packs in the index that are missing from the disk or have another size there."""
    return _lost(index, packs_on_disk(root))


def rebuild(root: Path, index: Index, parts: list[Part]) -> None:
    """Rebuild the index by a forward scan of all packs, without their footers."""
    reopened = [Reopened(part, part.entries) for part in parts]
    with index.transaction():
        own = {pack for pack in index.packs() if index.has_documents_of(pack)}
        index.clear()
        read = by_scan(root)
        _, documents = reindex(root, index, packs_on_disk(root), read, lambda: reopened)
        reindex_documents(root, index, documents, read, reopened, own)
    index.settle()


def _lost(index: Index, here: Mapping[PackId, int]) -> list[PackId]:
    return [pack for pack, size in index.packs().items() if here.get(pack) != size]


def _make_durable(root: Path, packs: Iterable[PackId]) -> None:
    """Sync the folders of parts and `packs` before they are indexed: a killed writer may not have synced them."""
    folders = {root / "open"}
    for pack in packs:
        for path in (pack_in(root, pack), sidecar_in(root, pack)):
            folders |= {path.parent, path.parent.parent}
    for folder in sorted(folders):
        if folder.is_dir():
            sync_dir(folder)
