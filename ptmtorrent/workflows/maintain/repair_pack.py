"""Repair one damaged or missing pack: locally if possible, else with bytes from a source.

Only damaged bytes are requested: first the damaged extents; if the pack still differs, the pieces that differ;
the whole pack if the hashes of its pieces are unknown. The pack is repaired once it hashes to its name.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.pieces import pieces_in
from ptmtorrent.model.plan import Extent
from ptmtorrent.model.torrents import SHA1_BYTES
from ptmtorrent.store.maintenance.pack_draft import (
    Draft,
    new_draft,
    possible_patches,
    read_pack_info,
    rebuildable_patches,
)
from ptmtorrent.store.maintenance.verify_pack import differing_pieces
from ptmtorrent.store.pack.format import PackInfo
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, pack_in, packs_on_disk
from ptmtorrent.workflows.maintain.damaged_packs import DamagedPack
from ptmtorrent.workflows.maintain.sources import RepairSource

MAX_INFOS = 16
"""Limit of other packs whose libraries and parameters are tried when a footer is rebuilt."""


class PackRepair(msgspec.Struct, frozen=True, kw_only=True):
    """How a pack was repaired, as messages say it, and the bytes moved for it over the network."""

    how: str
    moved: int


def repair_pack(
    root: Path, damaged: DamagedPack, sources: Sequence[RepairSource], reasons: list[str], *, own: bool
) -> PackRepair | None:
    """Repair a pack of the store at `root`; return None if no source has the missing bytes.

    Failures of sources are appended to `reasons`. `own` is recorded for a pack whose hashes are lost.

    Raises:
        NoSpace: the disk is full.
        StoreError: the store cannot be written.
    """
    expected = damaged.expected
    target = pack_in(root, expected.pack)
    original = target if damaged.checked is not None and target.is_file() else None
    with new_draft(original, target, expected.size) as draft:
        repaired = _repair_draft(root, damaged, draft, sources, reasons)
        if repaired is None:
            return None
        draft.publish()
    if read_sidecar(root, expected.pack) is None:
        write_sidecar(root, hash_pack(target, expected.pack), own=own)
    return repaired


def _repair_draft(
    root: Path, damaged: DamagedPack, draft: Draft, sources: Sequence[RepairSource], reasons: list[str]
) -> PackRepair | None:
    checked, pack = damaged.checked, damaged.expected.pack
    if checked is not None:
        draft.write(rebuildable_patches(checked))
        if draft.name() == pack or _try_possible_patches(root, damaged, draft):
            return PackRepair(how="repaired locally", moved=0)
    for source in sources:
        before = source.moved
        try:
            _fetch(source, damaged, draft)
        except PtmError as error:
            if draft.is_broken:
                raise
            reasons.append(error.message)
            continue
        if draft.name() == pack:
            return PackRepair(how=f"repaired from `{source.name}`", moved=source.moved - before)
        reasons.append(f"`{source.name}` also has other bytes")
    return None


def _try_possible_patches(root: Path, damaged: DamagedPack, draft: Draft) -> bool:
    """Try the possible headers and footers if nothing else is damaged; return whether one of them fits."""
    checked, pack = damaged.checked, damaged.expected.pack
    if checked is None or any(damage.what in {"object", "bytes"} for damage in checked.damages):
        return False
    infos = list(_infos(root, pack))
    for patches in possible_patches(pack_in(root, pack), checked, damaged.expected.size, infos):
        draft.write(patches)
        if draft.name() == pack:
            return True
    return False


def _infos(root: Path, pack: PackId) -> Iterator[PackInfo]:
    """Yield the libraries and parameters of other packs, which are likely those of `pack`."""
    for other in islice(packs_on_disk(root), MAX_INFOS):
        if other != pack and (info := read_pack_info(pack_in(root, other))) is not None:
            yield info


def _fetch(source: RepairSource, damaged: DamagedPack, draft: Draft) -> None:
    """Fetch damaged bytes from `source`: the damaged extents, then the pieces that differ, or the whole pack."""
    pack, size = damaged.expected.pack, damaged.expected.size
    for extent in damaged.extents:
        draft.write(source.read(pack, extent))
    if damaged.checked is None or draft.name() == pack:
        return
    kept = damaged.expected.hashes
    pieces = kept.pieces_v1 if kept is not None else source.pieces(pack)
    wrong = [Extent(offset=0, length=size)]
    if pieces is not None and len(pieces) == pieces_in(size) * SHA1_BYTES:
        wrong = differing_pieces(size, draft.hashes("open").pieces_v1, pieces)
    for extent in wrong:
        draft.write(source.read(pack, extent))
