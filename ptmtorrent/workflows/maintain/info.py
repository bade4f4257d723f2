"""`store info`: what the store holds, and what makes it smaller than the files that were captured.

Counts come from the index and the manifests; weights are not read. Every object counts once, and ratios are computed
from counted numbers, never estimated.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, files_in
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, object_id
from ptmtorrent.paths import Home
from ptmtorrent.store.codecs import DELTA_CODECS
from ptmtorrent.store.contents import Contents, open_contents
from ptmtorrent.store.maintenance.references import NONE, References
from ptmtorrent.store.maintenance.verify_pack import record_start
from ptmtorrent.store.pack.columns import ids_of
from ptmtorrent.store.pack.format import Entry
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import add_bases, read_captured, require_store

CODEC_NAMES = ("raw", "entropy", "zstd", "bf16", "fp16", "fp32", "fp64", "delta", "delta by exponent", "fields")
"""The names of codecs in docs/formats/codecs.md, by number."""

UNKNOWN_CODEC = "of a newer version"

DOCUMENTS = -3
"""The owner of manifests, captures and answers of hubs."""

BASES = -4
"""The owner of objects that only deltas need."""


class CodecShare(msgspec.Struct, kw_only=True):
    """Objects of one codec: their number, and their bytes raw and stored."""

    objects: int = 0
    raw: int = 0
    stored: int = 0

    def add(self, entry: Entry) -> None:
        """Count an object."""
        self.objects += 1
        self.raw += entry.raw
        self.stored += entry.stored


class StoreInfo(msgspec.Struct, kw_only=True):
    """Counts and bytes. `raw` is the size of the files of all newest captures, `unique` that of their distinct objects.

    `stored` is the sum of: `plain` and `deltas`, these objects in stored form; `documents`, manifests, captures and
    answers; `bases`, objects that only deltas need; `rest`, objects that no newest capture needs (older
    revisions); `heads`, the record headers; and `frames`, headers, footers, padding and objects whose
    index row names another pack.
    """

    packages: int = 0
    snapshots: int = 0
    files: int = 0
    packs: int = 0
    raw: int = 0
    unique: int = 0
    stored: int = 0
    unsealed: int = 0
    heads: int = 0
    plain: CodecShare = msgspec.field(default_factory=CodecShare)
    deltas: CodecShare = msgspec.field(default_factory=CodecShare)
    documents: CodecShare = msgspec.field(default_factory=CodecShare)
    bases: CodecShare = msgspec.field(default_factory=CodecShare)
    rest: CodecShare = msgspec.field(default_factory=CodecShare)
    codecs: dict[int, CodecShare] = msgspec.field(default_factory=dict)
    top: list[tuple[PackageName, int]] = msgspec.field(default_factory=list)
    unreadable: list[PackageName] = msgspec.field(default_factory=list)

    @property
    def frames(self) -> int:
        """Bytes of headers, footers and padding."""
        shares = (self.plain, self.deltas, self.documents, self.bases, self.rest)
        return self.stored - self.heads - sum(share.stored for share in shares)

    @property
    def objects(self) -> int:
        """The number of objects of all codecs."""
        return sum(share.objects for share in self.codecs.values())


def info(home: Home, top: int) -> StoreInfo:
    """Count what the store of `home` holds; list the `top` packages by the stored bytes that they alone need.

    Raises:
        NotFound: there is no store.
        StoreError: it cannot be read.
    """
    require_store(home)
    found = StoreInfo()
    with Store.open(home.store) as store, References() as references:
        names = _count_captured(store, references, found)
        with open_contents(home.store) as contents:
            for size in contents.packs().values():
                found.packs += 1
                found.stored += size
            found.unsealed = sum(map(_size, files_in(home.store / "open", "*.part")))
            found.stored += found.unsealed
            add_bases(contents, references, BASES)
            alone = _count_objects(contents, references, found)
    ranked = sorted(alone.items(), key=lambda item: (-item[1], item[0]))[:top]
    found.top = [(names[owner], size) for owner, size in ranked]
    return found


def codec_name(codec: int) -> str:
    """Return the name of a codec; packs of a newer version may have codecs without a name here."""
    return CODEC_NAMES[codec] if codec < len(CODEC_NAMES) else UNKNOWN_CODEC


def ratio(large: int, small: int) -> float | None:
    """Return `large` divided by `small`, to three decimals; None if `small` is 0."""
    return round(large / small, 3) if small else None


def _count_captured(store: Store, references: References, info: StoreInfo) -> list[PackageName]:
    """Count files and add the objects that each package needs; return the packages by owner number."""
    names: list[PackageName] = []
    snapshots = set()
    for captured in read_captured(store):
        capture, manifest = captured.capture, captured.manifest
        owner = len(names)
        names.append(capture.package)
        snapshots.add(capture.snapshot)
        references.add(DOCUMENTS, [ObjectId(capture.snapshot), object_id(canonical.encode(capture))])
        if manifest is None:
            info.unreadable.append(capture.package)
            continue
        info.files += len(manifest.files)
        info.raw += manifest.size
        rows = {row for file in manifest.files for row in manifest.objects_of(file.recipe)}
        references.add(owner, [manifest.objects[row][0] for row in sorted(rows)])
        references.add(DOCUMENTS, [item for row, (item, _) in enumerate(manifest.objects) if row not in rows])
    info.packages, info.snapshots = len(names), len(snapshots)
    return names


def _count_objects(contents: Contents, references: References, info: StoreInfo) -> dict[int, int]:
    """Count every object once, by its role; return the stored bytes that one package alone needs, by owner number."""
    alone: dict[int, int] = defaultdict(int)
    for entry, owner in _owned(contents, references):
        info.heads += entry.offset - record_start(entry)
        info.codecs.setdefault(entry.codec, CodecShare()).add(entry)
        if owner == NONE:
            info.rest.add(entry)
        elif owner in {DOCUMENTS, BASES}:
            (info.documents if owner == DOCUMENTS else info.bases).add(entry)
        else:
            info.unique += entry.raw
            (info.deltas if entry.codec in DELTA_CODECS else info.plain).add(entry)
            if owner >= 0:
                alone[owner] += entry.stored
    return alone


def _owned(contents: Contents, references: References) -> Iterator[tuple[Entry, int]]:
    """Yield every object with its owner; owners are looked up pack by pack, because a look-up costs as much for one."""
    for container in (*contents.packs(), *contents.parts()):
        entries = contents.entries(container)
        owners = references.owners(ids_of([entry.id for entry in entries]))
        yield from zip(entries, owners.tolist(), strict=True)


def _size(path: Path) -> int:
    with disk_errors(path):
        return path.stat().st_size
