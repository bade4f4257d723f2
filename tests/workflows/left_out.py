"""A home of which releases leave packages out: each of those holds markers, bytes that no release may carry.

Packages of every class lie beside members in the same packs, share a file with one, and are the bases of deltas; some
were open when they were captured first, and have become restricted or gated.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from ptmtorrent.errors import IntegrityError
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import PackId, ReleaseName
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.reader import open_pack, pack_in
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
KINDS: dict[str, tuple[RightsClass, RightsClass]] = {
    "nc": ("restricted", "restricted"),
    "none": ("unknown", "unknown"),
    "gate": ("gated", "gated"),
    "was-open": ("open", "restricted"),
    "now-gated": ("open", "gated"),
}
"""By kind of package: its class when it was captured first, and now."""

TUNED: dict[str, RightsClass] = {"nc": "unknown", "none": "restricted", "was-open": "open", "now-gated": "open"}
"""By kind of its base: the class of a fine-tune, which is a member of releases that leave its base out."""


@dataclass
class Package:
    """A package as it is now: its class, its files, and the markers in those and in what only it has."""

    rights: RightsClass
    files: dict[str, bytes]
    markers: list[bytes] = field(default_factory=list)


@dataclass
class World:
    """A home, and its packages by name; `older` are markers of former snapshots, by the class they were captured as."""

    home: Home
    keys: Keys
    packages: dict[str, Package] = field(default_factory=dict)
    older: dict[bytes, tuple[str, RightsClass]] = field(default_factory=dict)

    def members(self, include: frozenset[RightsClass]) -> dict[str, dict[str, bytes]]:
        """The files of the packages that a release with `include` has."""
        allowed = {"open", *include}
        return {name: package.files for name, package in self.packages.items() if package.rights in allowed}

    def forbidden(self, include: frozenset[RightsClass]) -> set[bytes]:
        """The markers that a release with `include` may not carry."""
        members, allowed = self.members(include), {"open", *include}
        now = {marker for name, package in self.packages.items() if name not in members for marker in package.markers}
        return now | {
            marker for marker, (name, rights) in self.older.items() if name not in members or rights not in allowed
        }


def make_world(root: Path, *, earlier: bool) -> World:
    """Capture every kind of package; `earlier` releases had them all, before and after some became restricted."""
    home, keys = new_home(root / "home")
    world = World(home, keys)
    with writing(home) as store:
        for number, kind in enumerate(KINDS):
            _capture_first(world, store, root, kind, number)
        _capture(world, store, root, "hf:m/plain", "open", {**SHARED, "plain.bin": _bytes("plain")})
        _capture(world, store, root, "hf:m/freed", "gated", {"freed.bin": _bytes("freed"), "was.bin": _bytes("was")})
        world.older[_bytes("was")] = ("hf:m/freed", "gated")
        _capture(world, store, root, "hf:m/twice", "open", {"once.bin": _bytes("once")})
    if earlier:
        release(ReleaseName("early"), home, keys, clock=TickingClock(), emit=ignore, include=EVERYTHING)
    with writing(home) as store:
        for kind, (_, now) in KINDS.items():
            name, files = _name(kind), world.packages[_name(kind)].files
            _capture(world, store, root, name, now, {**files, "new.bin": _bytes(f"{kind} new")}, again=True)
            world.packages[name].markers.append(_bytes(f"{kind} new"))
        _capture(world, store, root, "hf:m/freed", "open", {"freed.bin": _bytes("freed")}, again=True)
        _capture(world, store, root, "hf:m/twice", "open", {"twice.bin": _bytes("twice")}, again=True)
    if earlier:
        release(ReleaseName("internal"), home, keys, clock=TickingClock(), emit=ignore, include=EVERYTHING)
    return world


def all_bytes(channel: Path, store: Store) -> Iterator[tuple[str, bytes]]:
    """Yield every file of a channel, and every object of every pack in it; bases that it lacks are read from `store`."""
    for path in sorted(channel.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.name.encode() + path.read_bytes()
        if path.suffix == ".pack":
            with open_pack(path) as reader:
                for entry in reader.footer():
                    base = None if entry.base is None else store.read(entry.base)
                    yield f"{path.name}: {entry.kind} {entry.id}", reader.object(entry, base)


def held_by(world: World, marker: bytes) -> set[PackId]:
    """Return the packs of the home's store with the marker in an object of theirs."""
    found = set()
    with Store.open(world.home.store) as store:
        for pack in store.packs():
            with open_pack(pack_in(world.home.store, pack)) as reader:
                for entry in reader.footer():
                    base = None if entry.base is None else store.read(entry.base)
                    if marker in reader.object(entry, base):
                        found.add(pack)
    return found


def damage(path: Path, needle: bytes) -> None:
    """Flip a bit of the first `needle` in a file."""
    at = path.read_bytes().index(needle)
    if at < 0:
        raise IntegrityError(f"`{path}` has no such bytes")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([needle[0] ^ 1]))


def _capture_first(world: World, store: Store, root: Path, kind: str, number: int) -> None:
    first, now = KINDS[kind]
    tensors = weights(number, 1, 4_000)
    name, marker = _name(kind), _marker(kind)
    old = {f"old {kind}.bin": _bytes(f"{kind} old")}
    files = {**SHARED, f"{marker}.bin": _bytes(kind), "model.safetensors": safetensors(tensors)}
    _capture(world, store, root, name, first, {**files, **old})
    world.packages[name] = Package(now, files, [marker.encode(), _bytes(kind), tensors["layer.0"][1][1000:1064]])
    world.older[_bytes(f"{kind} old")] = (name, first)
    if kind in TUNED:
        tuned = {"model.safetensors": safetensors(tune(tensors, 100 + number))}
        bases = [store.known_file(f"blake3:{blake3(files['model.safetensors']).hexdigest()}")]
        _capture(world, store, root, f"hf:t/{kind}", TUNED[kind], tuned, bases=[base for base in bases if base])


def _capture(  # noqa: PLR0913  # the facts of a package
    world: World,
    store: Store,
    root: Path,
    name: str,
    rights: RightsClass,
    files: dict[str, bytes],
    *,
    bases: list[StoredFile] = [],  # noqa: B006  # never changed
    again: bool = False,
) -> None:
    moment = f"2026-11-{21 if again else 20}T12:00:00Z"
    capture(store, root, name, files, bases=bases, captured=moment, **FACTS[rights])
    markers = world.packages[name].markers if name in world.packages else []
    world.packages[name] = Package(rights, files, markers)


def _name(kind: str) -> str:
    return f"hf:x/{_marker(kind)}"


def _marker(kind: str) -> str:
    return f"{kind}-marker"


def _bytes(name: str) -> bytes:
    return random.Random(name).randbytes(2_000)
