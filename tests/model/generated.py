"""Manifests, captures and locations made up for tests, and hypothesis strategies for them."""

from collections.abc import Iterable
from hashlib import sha256

from blake3 import blake3
from hypothesis import strategies as st

from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId
from ptmtorrent.model.manifest import REGULAR_MODE, Capture, FileEntry, Identity, Manifest, new_manifest
from ptmtorrent.model.members import MemberRow, hash_parts, prefix_of, row_part
from ptmtorrent.model.placement import MAX_PACK_BYTES, Location

MOMENT = "2026-11-20T12:00:00Z"


def hex64(text: str) -> str:
    """A made-up hash, the same every time."""
    return blake3(text.encode()).hexdigest()


def new_capture(package: str, snapshot: str = "", **facts: object) -> Capture:
    known = {"captured": MOMENT, "listed": MOMENT, "rights": "open", **facts}
    return Capture(
        format=Capture.FORMAT,
        version=Capture.VERSION,
        requires=(),
        package=PackageName(package),
        snapshot=SnapshotId(snapshot or hex64(package)),
        **known,  # type: ignore[arg-type]  # facts are spelled by the test
    )


def new_file(path: str, data: bytes, first: int = 0, **facts: object) -> FileEntry:
    """A file of one object, the row `first` of its manifest."""
    known = {"path": path, "mode": REGULAR_MODE, "source": "git", "cutter": "opaque/1", **facts}
    return FileEntry(
        size=len(data),
        blake3=blake3(data).hexdigest(),
        sha256=sha256(data).hexdigest(),
        recipe=((first, 1),) if data else (),
        **known,  # type: ignore[arg-type]  # facts are spelled by the test
    )


def manifest_of(package: str, contents: Iterable[tuple[str, bytes]]) -> Manifest:
    """A manifest of files that are one object each; equal files share theirs."""
    hub, name = package.split(":", 1)
    objects: dict[ObjectId, int] = {}
    files = []
    for path, data in contents:
        identifier = ObjectId(blake3(data).hexdigest())
        if data:
            objects.setdefault(identifier, len(data))
        first = list(objects).index(identifier) if data else 0
        files.append(new_file(path, data, first))
    return new_manifest(Identity(hub=hub, name=name, commit="c" * 40), tuple(files), tuple(objects.items()))


def hash_members(rows: Iterable[MemberRow], bits: int) -> tuple[bytes, ...]:
    """The hashes of the 2**`bits` buckets of `rows`."""
    buckets: list[list[tuple[PackageName, bytes]]] = [[] for _ in range(1 << bits)]
    for row in rows:
        buckets[prefix_of(row.package, bits)].append(row_part(row))
    return tuple(map(hash_parts, buckets))


hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def locations(draw: st.DrawFn, raw_size: int) -> Location:
    """Any place where an object of `raw_size` bytes could lie."""
    pack_size = draw(st.integers(max(1, raw_size), MAX_PACK_BYTES))
    length = draw(st.integers(0, raw_size))
    return Location(
        pack=PackId(hex64(str(pack_size))),
        pack_size=pack_size,
        offset=draw(st.integers(0, pack_size - length)),
        length=length,
        codec=draw(st.integers(0, 8)),
    )
