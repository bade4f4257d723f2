"""Volumes: which packs share a torrent, and the two torrents bencoded from hashes that are already known.

Root name `packs`, paths `<2 hex>/<hash>.pack`, sorted; all packs have the same alignment, which is the piece length, so
v1 pieces never span two packs and both torrents describe the same bytes (docs/formats/volume.md). Nothing is read to
make one.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pieces import alignment_of

ROOT_NAME = "packs"
MAX_VOLUME_BYTES = 64 << 30
"""Limit of a volume (64 GiB)."""

MAX_VOLUME_PIECES = 1 << 18
MAX_VOLUME_PACKS = 1 << 14
"""Limit of packs in a volume: the torrents of more could have more values than a reader takes."""

LEVEL_WIDTH = 8
"""Eight volumes of a level merge into one of the next."""


class PackHashes(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed while the pack was written, enough to make any torrent of it.

    `pieces_v1`: 20 bytes of SHA-1 for each piece, as long as the alignment of `size`. `root_v2`: 32 bytes, the SHA-256
    Merkle root over 16 KiB leaves. `layer_v2`: 32 bytes for each piece (BEP 52), empty when the pack is one piece.
    """

    pack: PackId
    size: int
    rights: Rights
    pieces_v1: bytes
    root_v2: bytes
    layer_v2: bytes


class VolumePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A set of packs that will be one torrent, sorted by id, all of the same rights and alignment."""

    rights: Rights
    level: int
    packs: tuple[PackHashes, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all packs."""
        return sum(pack.size for pack in self.packs)

    @property
    def alignment(self) -> int:
        """The piece length, in bytes."""
        return alignment_of(self.packs[0].size)


Previous = tuple[Rights, int, frozenset[PackId]]
"""A volume of the release before: its rights, its level, the packs in it."""


def plan_volumes(packs: Iterable[PackHashes], previous: Sequence[Previous]) -> tuple[VolumePlan, ...]:
    """Share `packs` out to volumes, every pack exactly once, leaving as many volumes of `previous` alone as can be.

    A volume whose packs are all still there keeps exactly them, and so its infohash and its swarm. One that lost a
    pack is dissolved. What lies in no volume forms new ones of level 0. Eight volumes of a level become one of the
    next, unless that is over a limit: so their number grows with the logarithm of releases, and with bytes.

    The result depends on the two arguments as sets, never on their order; by rights, alignment, largest level.
    """
    groups: dict[tuple[Rights, int], dict[PackId, PackHashes]] = defaultdict(dict)
    for pack in packs:
        groups[pack.rights, alignment_of(pack.size)][pack.pack] = pack
    plans: list[VolumePlan] = []
    for (rights, alignment), here in sorted(groups.items(), key=lambda group: group[0]):
        kept = _keep(rights, here, previous)
        settled = {pack.pack for plan in kept for pack in plan.packs}
        fresh = _fill(rights, alignment, [pack for identifier, pack in here.items() if identifier not in settled])
        plans += _merge_levels([*kept, *fresh])
    return tuple(plans)


def max_volume_bytes(alignment: int) -> int:
    """Return the limit of a volume of packs of `alignment`: 64 GiB, or 2^18 pieces if that is less."""
    return min(MAX_VOLUME_BYTES, MAX_VOLUME_PIECES * alignment)


def _keep(rights: Rights, here: dict[PackId, PackHashes], previous: Sequence[Previous]) -> list[VolumePlan]:
    kept: list[VolumePlan] = []
    settled: set[PackId] = set()
    for _, level, members in sorted(
        (volume for volume in previous if volume[0] == rights and volume[2]),
        key=lambda volume: (-volume[1], sorted(volume[2])),
    ):
        if members <= here.keys() and not members & settled:
            settled |= members
            kept.append(_volume(rights, level, [here[pack] for pack in members]))
    return kept


def _fill(rights: Rights, alignment: int, packs: list[PackHashes]) -> list[VolumePlan]:
    groups: list[list[PackHashes]] = []
    room = 0
    for pack in sorted(packs, key=lambda pack: pack.pack):
        if pack.size > room or len(groups[-1]) == MAX_VOLUME_PACKS:
            groups.append([])
            room = max_volume_bytes(alignment)
        groups[-1].append(pack)
        room -= pack.size
    return [_volume(rights, 0, group) for group in groups]


def _merge_levels(plans: list[VolumePlan]) -> list[VolumePlan]:
    done: list[VolumePlan] = []
    level = 0
    while plans:
        rest = [plan for plan in plans if plan.level != level]
        # Smallest first: when even those eight have too many bytes, so do all others.
        queue = sorted(
            (plan for plan in plans if plan.level == level), key=lambda plan: (plan.bytes, plan.packs[0].pack)
        )
        while len(queue) >= LEVEL_WIDTH and _fit(queue[:LEVEL_WIDTH]):
            members = [pack for plan in queue[:LEVEL_WIDTH] for pack in plan.packs]
            rest.append(_volume(queue[0].rights, level + 1, members))
            queue = queue[LEVEL_WIDTH:]
        done += queue
        plans = rest
        level += 1
    return sorted(done, key=lambda plan: (-plan.level, plan.packs[0].pack))


def _fit(plans: Sequence[VolumePlan]) -> bool:
    """Return whether volumes of the same alignment may be merged into one."""
    few = sum(len(plan.packs) for plan in plans) <= MAX_VOLUME_PACKS
    return few and sum(plan.bytes for plan in plans) <= max_volume_bytes(plans[0].alignment)


def _volume(rights: Rights, level: int, packs: Iterable[PackHashes]) -> VolumePlan:
    return VolumePlan(rights=rights, level=level, packs=tuple(sorted(packs, key=lambda pack: pack.pack)))
