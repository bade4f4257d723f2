"""A home of which releases leave packages out: each of those holds markers, bytes that no release may carry.

Packages of every class lie beside members in the same packs, share a file with one, and are the bases of deltas; some
were open when they were captured first, and have become restricted or gated.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ObjectId, ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.format import strip_padding
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.release import release
from tests.channels import safetensors
from tests.workflows.captured import TickingClock, capture, new_home, writing
from tests.workflows.tuned import tune, weights

EVERYTHING: frozenset[RightsClass] = frozenset({"restricted", "unknown", "gated"})
SHARED = {"shared.json": b'{"model_type":"bert"}' * 40}
FACTS: dict[RightsClass, dict[str, object]] = {
    "open": {"rights": "open", "licence": "mit"},
    "restricted": {"rights": "restricted", "licence": "cc-by-nc-4.0"},
    "unknown": {"rights": "restricted", "licence": None},
    "gated": {"rights": "gated", "licence": "mit"},
}
KINDS: dict[str, tuple[RightsClass, ...]] = {
    "nc": ("restricted", "restricted"),
    "none": ("unknown", "unknown"),
    "gate": ("gated", "gated"),
    "was-open": ("open", "restricted"),
    "now-gated": ("open", "gated"),
    "to-and-fro": ("unknown", "open", "unknown"),
}
"""By kind of package: its class in each of its captures, the last of which counts."""

TUNED: dict[str, RightsClass] = {"nc": "unknown", "none": "restricted", "was-open": "open", "now-gated": "open"}
"""By kind of its base: the class of a fine-tune, which is a member of releases that leave its base out."""


MARKER_BYTES = 2_000


@dataclass
class Package:
    """A package as it is now: its class, its files, and its markers: bytes that no other package has."""

    rights: RightsClass
    files: dict[str, bytes]
    markers: list[bytes] = field(default_factory=list)


@dataclass
class World:
    """A home, and its packages by name.

    `older` are markers of former snapshots: their package, and the class they were captured as. With `apart` every
    capture is sealed, so that no pack holds two packages.
    """

    home: Home
    keys: Keys
    apart: bool
    captures: int = 0
    packages: dict[str, Package] = field(default_factory=dict)
    older: dict[bytes, tuple[str, RightsClass]] = field(default_factory=dict)

    def members(self, include: frozenset[RightsClass]) -> dict[str, dict[str, bytes]]:
        """The files of the packages that a release with `include` has."""
        allowed = {"open", *include}
        return {name: package.files for name, package in self.packages.items() if package.rights in allowed}

    def forbidden(self, include: frozenset[RightsClass]) -> set[bytes]:
        """The markers that a release with `include` may not carry."""
        members, allowed = self.members(include), {"open", *include}
        left_out = [package for name, package in self.packages.items() if name not in members]
        now = {marker for package in left_out for marker in package.markers}
        return now | {
            marker for marker, (name, rights) in self.older.items() if name not in members or rights not in allowed
        }


def make_world(root: Path, *, earlier: bool, apart: bool) -> World:
    """Capture every kind of package; `earlier` releases had them all, before and after some became restricted."""
    home, keys = new_home(root / "home")
    world = World(home, keys, apart=apart)
    with writing(home) as store:
        for number, kind in enumerate(KINDS):
            _capture_kind(world, store, root, kind, number)
        _capture(world, store, root, "hf:m/plain", rights="open", files={**SHARED, "plain.bin": _bytes("plain")})
        _capture(world, store, root, "hf:m/twice", rights="open", files={"once.bin": _bytes("once")})
        for name, before in (("hf:m/freed", "gated"), ("hf:m/named", "unknown")):
            _capture(
                world,
                store,
                root,
                name,
                rights=before,
                files={"kept.bin": _bytes(name), "was.bin": _bytes(f"{name} was")},
            )
            world.older[_bytes(f"{name} was")] = (name, before)
    if earlier:
        release(ReleaseName("early"), home, keys, clock=TickingClock(), emit=ignore, include=EVERYTHING)
    with writing(home) as store:
        for kind, classes in KINDS.items():
            name = _name(kind)
            for number, rights in enumerate(classes[1:], 1):
                new = _bytes(f"{kind} {number}")
                _capture(
                    world, store, root, name, rights=rights, files={**world.packages[name].files, f"{number}.bin": new}
                )
                world.packages[name].markers.append(new)
        _capture(world, store, root, "hf:m/twice", rights="open", files={"twice.bin": _bytes("twice")})
        _capture(world, store, root, "hf:m/freed", rights="open", files={"kept.bin": _bytes("hf:m/freed")})
        _capture(world, store, root, "hf:m/named", rights="restricted", files={"kept.bin": _bytes("hf:m/named")})
    if earlier:
        release(ReleaseName("internal"), home, keys, clock=TickingClock(), emit=ignore, include=EVERYTHING)
    return world


def all_bytes(channel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file of a channel, and every object of every pack in it, which has the bases of deltas too.

    Of the zeros at the end of a file as many are left as a marker has bytes.
    """
    packs = sorted(channel.rglob("*.pack"))
    plain: dict[ObjectId, bytes] = {}
    for path in packs:
        with open_pack(path) as reader:
            plain |= {entry.id: reader.object(entry) for entry in reader.footer() if entry.base is None}
    for path in packs:
        with open_pack(path) as reader:
            for entry in reader.footer():
                base = None if entry.base is None else plain[entry.base]
                yield f"{path.name}: {entry.kind} {entry.id}", reader.object(entry, base)
    for path in channel.rglob("*"):
        if path.is_file():
            yield str(path), path.name.encode() + strip_padding(path.read_bytes()) + bytes(MARKER_BYTES)


def _capture_kind(world: World, store: Store, root: Path, kind: str, number: int) -> None:
    """Capture a package for the first time, twice, and a fine-tune of it."""
    first = KINDS[kind][0]
    tensors = weights(number, 1, 4_000)
    name, marker = _name(kind), f"{kind}-marker"
    files = {**SHARED, f"{marker}.bin": _bytes(kind), "model.safetensors": safetensors(tensors)}
    _capture(world, store, root, name, rights=first, files={**files, "old.bin": _bytes(f"{kind} old")})
    _capture(world, store, root, name, rights=first, files=files)
    world.packages[name].markers += [marker.encode(), _bytes(kind), tensors["layer.0"][1][1000:1064]]
    world.older[_bytes(f"{kind} old")] = (name, first)
    if kind in TUNED:
        own = {"layer.0": ("BF16", _bytes(f"t/{kind}"))}
        tuned = {"model.safetensors": safetensors(tune(tensors, 100 + number)), "own.safetensors": safetensors(own)}
        base = store.known_file(f"blake3:{blake3(files['model.safetensors']).hexdigest()}")
        _capture(world, store, root, f"hf:t/{kind}", rights=TUNED[kind], files=tuned, bases=[base] if base else [])


def _capture(  # the facts of a package
    world: World,
    store: Store,
    root: Path,
    name: str,
    *,
    rights: RightsClass,
    files: dict[str, bytes],
    bases: Sequence[StoredFile] = (),
) -> None:
    world.captures += 1
    moment = f"2026-11-20T12:00:{world.captures:02}Z"
    capture(store, root, name, files, bases=bases, captured=moment, **FACTS[rights])
    markers = world.packages[name].markers if name in world.packages else []
    world.packages[name] = Package(rights, files, markers)
    if world.apart:
        store.seal()


def _name(kind: str) -> str:
    return f"hf:x/{kind}-marker"


def _bytes(name: str) -> bytes:
    return random.Random(name).randbytes(MARKER_BYTES)
