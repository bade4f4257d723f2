"""Repair one damaged or missing pack: from what is known for certain, else from a source that has its bytes.

Only what is bad is asked for: first the damaged stretches; where the whole is then still wrong, the pieces of 4 MiB
that differ; the whole pack where its pieces are unknown. It is repaired once it hashes to its name.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from ptmtorrent.errors import PtmError
from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.plan import PIECE_BYTES, Extent
from ptmtorrent.model.torrents import SHA1_BYTES
from ptmtorrent.store.maintenance.repair_pack import (
    Draft,
    free_patches,
    info_of,
    missing_extents,
    new_draft,
    possible_patches,
)
from ptmtorrent.store.maintenance.verify_pack import CheckedPack, Expectation, differing_pieces
from ptmtorrent.store.pack.format import PackInfo
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, pack_in
from ptmtorrent.store.recovery.recover import packs_on_disk
from ptmtorrent.workflows.maintain.sources import Source

MAX_INFOS = 16


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that is not what it was. `checked` is None where its file is missing."""

    expected: Expectation
    checked: CheckedPack | None

    @property
    def is_sound(self) -> bool:
        """Is every byte of it the one that was written?"""
        checked = self.checked
        return checked is not None and checked.hashes.pack == self.expected.pack and not self._has_other_size

    @property
    def _has_other_size(self) -> bool:
        return self.checked is not None and any(damage.what == "bytes" for damage in self.checked.damages)

    @property
    def lost(self) -> tuple[ObjectId, ...]:
        """The objects that cannot be read as it is."""
        known = tuple(entry.id for entry in self.expected.entries)
        return known if self.checked is None else self.checked.lost

    @property
    def extents(self) -> list[Extent]:
        """The extents that must come from a source, at least."""
        size = self.expected.size
        return [Extent(offset=0, length=size)] if self.checked is None else missing_extents(self.checked, size)


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """How a pack was mended, in words, and how many bytes crossed the network for it."""

    how: str
    moved: int


def mend(root: Path, patient: Patient, sources: Sequence[Source], reasons: list[str], *, own: bool) -> Mended | None:
    """Repair a pack of the store at `root`; None when no source has what is missing; `reasons` gets the reasons.

    `own` is what is noted of a pack whose hashes are lost.

    Raises:
        NoSpace: the disk is full.
        StoreError: the store cannot be written.
    """
    expected = patient.expected
    target = pack_in(root, expected.pack)
    source = target if patient.checked is not None and target.is_file() else None
    with new_draft(source, target, expected.size) as draft:
        mended = _mend_draft(root, patient, draft, sources, reasons)
        if mended is None:
            return None
        draft.publish()
    if read_sidecar(root, expected.pack) is None:
        write_sidecar(root, hash_pack(target, expected.pack), own=own)
    return mended


def _mend_draft(
    root: Path, patient: Patient, draft: Draft, sources: Sequence[Source], reasons: list[str]
) -> Mended | None:
    checked, pack = patient.checked, patient.expected.pack
    if checked is not None:
        draft.write(free_patches(checked))
        if draft.name() == pack or _guess(root, patient, draft):
            return Mended(how="put right from what was left of it", moved=0)
    for source in sources:
        before = source.moved
        try:
            _ask(source, patient, draft)
        except PtmError as error:
            if draft.is_broken:
                raise
            reasons.append(error.message)
            continue
        if draft.name() == pack:
            moved = source.moved - before
            return Mended(how=f"put right from `{source.name}`", moved=moved)
        reasons.append(f"`{source.name}` has other bytes too")
    return None


def _guess(root: Path, patient: Patient, draft: Draft) -> bool:
    """Try what header and footer may have been, when only those are damaged."""
    checked = patient.checked
    if checked is None or any(damage.what in {"object", "bytes"} for damage in checked.damages):
        return False
    path = pack_in(root, patient.expected.pack)
    infos = list(_infos(root, patient.expected.pack))
    for patches in possible_patches(path, checked, patient.expected.size, infos):
        draft.write(patches)
        if draft.name() == patient.expected.pack:
            return True
    return False


def _infos(root: Path, pack: PackId) -> Iterator[PackInfo]:
    """Yield what other packs were written with: probably the same libraries."""
    for other in islice(packs_on_disk(root), MAX_INFOS):
        if other != pack and (info := info_of(pack_in(root, other))) is not None:
            yield info


def _ask(source: Source, patient: Patient, draft: Draft) -> None:
    """Get what is bad from `source`: the damaged stretches, then the pieces that differ, then everything."""
    pack, size = patient.expected.pack, patient.expected.size
    for extent in patient.extents:
        draft.write(source.read(pack, extent))
    if patient.checked is None or draft.name() == pack:
        return
    kept = patient.expected.hashes
    pieces = kept.pieces_v1 if kept is not None else source.pieces(pack)
    wrong = [Extent(offset=0, length=size)]
    if pieces is not None and len(pieces) == size // PIECE_BYTES * SHA1_BYTES:
        wrong = differing_pieces(draft.hashes("open").pieces_v1, pieces)
    for extent in wrong:
        draft.write(source.read(pack, extent))
