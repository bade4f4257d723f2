"""The hashes of a sealed pack, kept beside the index: `hashes/<2 hex>/<pack id>.json`.

::

    {"format":"ptmtorrent/pack-hashes","layer_v2":"","own":true,"pack":"ab12...","pieces_v1":"77...","requires":[],
     "rights":"open","root_v2":"c0...","size":16384,"version":2}

`own` tells packs we captured from those adopted: only what our own packs say about hubs is believed. Where the hashes
of one pack are lost, it counts as adopted, unless the index knew all that it says; see docs/formats/pack.md.
"""

from pathlib import Path
from typing import ClassVar

from ptmtorrent.disk.durable import disk_errors, ensure_dir, files_in, read_regular, write_file
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.model.pieces import is_whole, pieces_in
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store.pack.format import OLDER_STORE


class Sidecar(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The hashes of one pack, in hex. A reader that finds none hashes the pack again."""

    FORMAT: ClassVar[str] = "ptmtorrent/pack-hashes"
    VERSION: ClassVar[int] = 2
    OLDER: ClassVar[str] = OLDER_STORE

    pack: PackId
    size: int
    rights: Rights
    own: bool
    pieces_v1: str
    root_v2: str
    layer_v2: str


def sidecar_in(root: Path, pack: PackId) -> Path:
    """Return where the store at `root` keeps the hashes of `pack`."""
    return root / "hashes" / pack[:2] / f"{pack}.json"


def write_sidecar(root: Path, hashes: PackHashes, *, own: bool) -> None:
    """Keep `hashes`, durably."""
    sidecar = Sidecar(
        format=Sidecar.FORMAT,
        version=Sidecar.VERSION,
        requires=(),
        pack=hashes.pack,
        size=hashes.size,
        rights=hashes.rights,
        own=own,
        pieces_v1=hashes.pieces_v1.hex(),
        root_v2=hashes.root_v2.hex(),
        layer_v2=hashes.layer_v2.hex(),
    )
    path = sidecar_in(root, hashes.pack)
    ensure_dir(path.parent, sure=True)
    write_file(path, canonical.encode(sidecar))


def read_sidecar(root: Path, pack: PackId) -> tuple[PackHashes, bool] | None:
    """Return the hashes of `pack` and whether it is our own; None when they are missing or damaged."""
    path = sidecar_in(root, pack)
    try:
        with disk_errors(path):
            data = read_regular(path) if path.is_file() else b""
        sidecar = canonical.decode(data, Sidecar, name=path.name)
        hashes = PackHashes(
            pack=sidecar.pack,
            size=sidecar.size,
            rights=sidecar.rights,
            pieces_v1=bytes.fromhex(sidecar.pieces_v1),
            root_v2=bytes.fromhex(sidecar.root_v2),
            layer_v2=bytes.fromhex(sidecar.layer_v2),
        )
    except (IntegrityError, ValueError):
        return None
    return (hashes, sidecar.own) if hashes.pack == pack and _adds_up(hashes) else None


def has_sidecars(root: Path) -> bool:
    """Tell whether the store at `root` keeps hashes of any pack: packs that were copied alone have none."""
    return any(files_in(folder, "*.json") for folder in files_in(root / "hashes"))


def _adds_up(hashes: PackHashes) -> bool:
    pieces = pieces_in(hashes.size)
    layer = 0 if pieces == 1 else pieces
    lengths = (len(hashes.pieces_v1), len(hashes.root_v2), len(hashes.layer_v2))
    return is_whole(hashes.size) and lengths == (20 * pieces, 32, 32 * layer)
