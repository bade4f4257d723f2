"""The manifest: the canonical description of one snapshot (docs/formats/manifest.md).

A manifest holds only immutable facts: identity, files, objects and recipes. Its BLAKE3 is the snapshot's id. Popularity
and similar facts change, so they are in the capture record, which feeds the tables of a release. Both are stored as
objects in meta packs, so that everything can be rebuilt from packs only.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import ClassVar, Literal

import msgspec

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.findings import Scan
from ptmtorrent.model.ids import (
    ObjectId,
    PackageName,
    SnapshotId,
    check_file_path,
    check_path,
    check_paths,
    is_hex64,
    object_id,
    path_bytes,
    show_path,
)

MAX_OBJECT_BYTES = 16 << 20
"""Limit of an object that a file is cut into (16 MiB); a manifest is one object of any length."""

MAX_PIECES = 1 << 22
"""Limit of rows in all recipes together (4 Mi): a few runs over a long table could name billions."""

REGULAR_MODE = 0o100644
EXECUTABLE_MODE = 0o100755
LINK_MODE = 0o120000

MAX_SIZE = (1 << 53) - 1
"""Limit of the size that a hub states: the largest integer that every JSON reader keeps."""

Run = tuple[int, int]
"""`(first, count)`: a run of rows in a manifest's object table."""

FileSource = Literal["git", "lfs", "xet", "url", "archive"]

MissingReason = Literal["gone", "refused", "unreachable", "unreadable", "unsafe-name"]
"""Why a file was not captured: the hub does not have it, or does not give it; its own host cannot be reached; it cannot
be read, or is no regular file, in a folder; or no reader would write it, because of its name."""

ARCHIVE_FEATURE = "archive"
"""The feature that `requires` lists if a file has the source `archive`."""

MISSING_FEATURE = "missing"
"""The feature that `requires` lists if a file was not captured."""

_HUB = re.compile(r"[a-z][a-z0-9]{0,15}")
_HEX40 = re.compile(r"[0-9a-f]{40}")
_HEXES = re.compile(r"[0-9a-f]*")
_UPSTREAM_ID = re.compile(r"git:[0-9a-f]{40}|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|sha256-prefix:[0-9a-f]{8,63}")


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package at a revision. A name is not an identity, because another owner may register it again."""

    hub: str
    name: str
    commit: str
    hub_id: str | None = None
    author: str | None = None
    author_id: str | None = None

    @property
    def package(self) -> PackageName:
        """The name as it is typed: `hf:org/name`."""
        return PackageName(f"{self.hub}:{self.name}")


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file: its path, its hashes, and the objects it is made of.

    Exactly one of `path` and `path_b64` (for names that are not UTF-8) is set. `git_sha1` is set for git blobs; the git
    id of an LFS file follows from its SHA-256 and size.
    """

    path: str | None = None
    path_b64: str | None = None
    mode: int
    size: int
    source: FileSource
    blake3: str
    sha256: str
    git_sha1: str | None = None
    link: str | None = None
    cutter: str
    recipe: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The path as text; bytes that are not UTF-8 become surrogate escapes."""
        return _name(self)


class MissingFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of the revision that was not captured: what the hub says of it, as far as it does, and the reason.

    `path`, `path_b64`, `mode` and `source` are as in a `FileEntry`; `oid` is as the hub lists it, `sha256:<hex>` or
    `git:<hex>` for most.
    """

    path: str | None = None
    path_b64: str | None = None
    mode: int
    size: int | None = None
    source: FileSource
    oid: str | None = None
    reason: MissingReason

    @property
    def name(self) -> str:
        """The path as text; bytes that are not UTF-8 become surrogate escapes."""
        return _name(self)


class RawAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the hub, byte for byte, kept as objects: `model_info`, `tree`, a git `commit`, a git `tree`."""

    name: str
    recipe: tuple[Run, ...]


class Manifest(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """All immutable facts about one snapshot."""

    FORMAT: ClassVar[str] = "ptmtorrent/manifest"
    FEATURES: ClassVar[frozenset[str]] = frozenset({ARCHIVE_FEATURE, MISSING_FEATURE})

    package: Identity
    files: tuple[FileEntry, ...]
    objects: tuple[tuple[ObjectId, int], ...]
    raw: tuple[RawAnswer, ...] = ()
    missing: tuple[MissingFile, ...] = ()

    def objects_of(self, recipe: tuple[Run, ...]) -> tuple[int, ...]:
        """Return the rows of the object table that `recipe` names, in file order."""
        return tuple(chain.from_iterable(range(first, first + count) for first, count in recipe))

    @property
    def size(self) -> int:
        """Total size of all files in bytes."""
        return sum(file.size for file in self.files)


def new_manifest(
    package: Identity,
    files: tuple[FileEntry, ...],
    objects: tuple[tuple[ObjectId, int], ...],
    raw: tuple[RawAnswer, ...] = (),
    missing: tuple[MissingFile, ...] = (),
) -> Manifest:
    """Return a checked manifest of this version, with the files sorted by path."""
    archive = any(file.source == "archive" for file in files)
    features = ((ARCHIVE_FEATURE, archive), (MISSING_FEATURE, bool(missing)))
    manifest = Manifest(
        format=Manifest.FORMAT,
        version=Manifest.VERSION,
        requires=tuple(name for name, needed in features if needed),
        package=package,
        files=tuple(sorted(files, key=_order)),
        objects=objects,
        raw=raw,
        missing=tuple(sorted(missing, key=_order)),
    )
    check_manifest(manifest)
    return manifest


def encode_manifest(manifest: Manifest) -> tuple[bytes, SnapshotId]:
    """Return the canonical bytes of `manifest`, and their BLAKE3, which is the snapshot's id."""
    data = canonical.encode(manifest)
    return data, SnapshotId(object_id(data))


def decode_manifest(data: bytes, snapshot: SnapshotId) -> Manifest:
    """Return the manifest in `data`, whose BLAKE3 must be `snapshot`.

    Raises:
        IntegrityError: wrong hash, not canonical, a refused path, or recipes that do not add up.
        UnsupportedFormat: written by a newer version.
    """
    if str(object_id(data)) != snapshot:
        raise IntegrityError(f"the manifest of snapshot `{snapshot}` has the wrong hash")
    manifest = canonical.decode(data, Manifest, name=f"manifest {snapshot[:12]}")
    check_manifest(manifest)
    return manifest


class _Objects(msgspec.Struct, frozen=True):
    """What is read of a manifest whose objects alone matter."""

    objects: tuple[tuple[ObjectId, int], ...]


def objects_in(data: bytes, snapshot: SnapshotId) -> list[ObjectId]:
    """Return the objects of the manifest in `data`, whose BLAKE3 is `snapshot`; nothing else of it is checked.

    Raises:
        IntegrityError: it is too long, not a manifest, or an id is malformed.
    """
    name = f"manifest {snapshot[:12]}"
    canonical.check_size(data, name)
    try:
        found = [identifier for identifier, _ in _OBJECTS.decode(data).objects]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"`{name}` is not a manifest: {error}") from error
    if not all(map(is_hex64, found)):
        raise IntegrityError(f"`{name}` has a malformed id of an object")
    return found


_OBJECTS = msgspec.json.Decoder(_Objects)


def check_manifest(manifest: Manifest) -> None:
    """Check that a manifest is consistent: names, paths, hashes, and sizes that add up.

    Raises:
        IntegrityError: naming the package and the first file at fault.
    """
    _check_identity(manifest.package)
    name = manifest.package.package
    _check_objects(manifest, name)
    if len({identifier for identifier, _ in manifest.objects}) != len(manifest.objects):
        raise IntegrityError(f"`{name}`: an object occurs twice in the object table")
    if sum(count for recipe in _recipes(manifest) for _, count in recipe) > MAX_PIECES:
        raise IntegrityError(f"`{name}`: the recipes name more than {MAX_PIECES:,} objects")
    ends = (0, *accumulate(size for _, size in manifest.objects))
    hexes = _are_hex64([digest for file in manifest.files for digest in (file.blake3, file.sha256)])
    for file in manifest.files:
        _check_file(ends, manifest, file, has_hashes=hexes)
    if (MISSING_FEATURE in manifest.requires) != bool(manifest.missing):
        raise IntegrityError(f"`{name}`: `requires` does not say whether files are missing")
    for lost in manifest.missing:
        _check_missing(manifest, lost)
    paths, lost_paths = [file.name for file in manifest.files], [file.name for file in manifest.missing]
    check_paths(paths, lost_paths)
    if paths != sorted(paths, key=path_bytes) or lost_paths != sorted(lost_paths, key=path_bytes):
        raise IntegrityError(f"`{name}`: the files are not sorted by path")
    for answer in manifest.raw:
        _sum_sizes(ends, answer.recipe, answer.name)


def _check_identity(package: Identity) -> None:
    """Check name and commit like paths, because layouts use them as folders."""
    if not _HUB.fullmatch(package.hub):
        raise IntegrityError(f"{package.hub!r} is not the name of a hub")
    check_path(package.name)
    check_path(package.commit)
    if "/" in package.commit:
        raise IntegrityError(f"`{package.package}`: the commit {package.commit!r} is malformed")


def _check_objects(manifest: Manifest, name: str) -> None:
    """Refuse malformed ids and sizes. All are looked at together, because a table may have hundreds of thousands."""
    identifiers = [identifier for identifier, _ in manifest.objects]
    sizes = [size for _, size in manifest.objects]
    if _are_hex64(identifiers) and (not sizes or (min(sizes) >= 0 and max(sizes) <= MAX_OBJECT_BYTES)):
        return
    for identifier, size in manifest.objects:
        if not is_hex64(identifier) or not 0 <= size <= MAX_OBJECT_BYTES:
            raise IntegrityError(f"`{name}`: the object `{identifier}` of {size} bytes is malformed")


def _are_hex64(texts: Sequence[str]) -> bool:
    return _HEXES.fullmatch("".join(texts)) is not None and set(map(len, texts)) <= {64}


def _check_file(ends: Sequence[int], manifest: Manifest, file: FileEntry, *, has_hashes: bool) -> None:
    where = f"`{manifest.package.package}` file {file.path or file.path_b64!r}"
    _check_spelling(file, where)
    if not has_hashes and not (is_hex64(file.blake3) and is_hex64(file.sha256)):
        raise IntegrityError(f"{where}: a hash is malformed")
    if file.git_sha1 is not None and not _HEX40.fullmatch(file.git_sha1):
        raise IntegrityError(f"{where}: the git id is malformed")
    if file.mode not in {REGULAR_MODE, EXECUTABLE_MODE, LINK_MODE}:
        raise IntegrityError(f"{where}: the mode {file.mode:o} is not a file mode of git")
    if (file.mode == LINK_MODE) != (file.link is not None):
        raise IntegrityError(f"{where}: the target of a link is missing, or a file that is not a link has one")
    if file.link is not None and not stays_inside(file.name, file.link):
        raise IntegrityError(f"{where}: the link to {file.link!r} leads out of the package")
    if _sum_sizes(ends, file.recipe, where) != file.size:
        raise IntegrityError(f"{where}: its objects do not add up to {file.size} bytes")


def _check_missing(manifest: Manifest, file: MissingFile) -> None:
    where = f"`{manifest.package.package}` missing file {file.path or file.path_b64!r}"
    _check_spelling(file, where)
    if file.mode not in {REGULAR_MODE, EXECUTABLE_MODE, LINK_MODE}:
        raise IntegrityError(f"{where}: the mode {file.mode:o} is not a file mode of git")
    if file.size is not None and not 0 <= file.size <= MAX_SIZE:
        raise IntegrityError(f"{where}: the size {file.size} is out of bounds")
    if file.oid is not None and not _UPSTREAM_ID.fullmatch(file.oid):
        raise IntegrityError(f"{where}: the id of the hub is malformed")


MAX_SPELLED = 3
"""Missing files that messages name."""


def spell_missing(missing: Sequence[MissingFile]) -> str:
    """Return `1 of its files was not captured: x (gone)`, with the names of the first."""
    named = ", ".join(f"`{show_path(file.name)}` ({file.reason})" for file in missing[:MAX_SPELLED])
    more = f" and {len(missing) - MAX_SPELLED:,} more" if len(missing) > MAX_SPELLED else ""
    what = "1 of its files was" if len(missing) == 1 else f"{len(missing):,} of its files were"
    return f"{what} not captured: {named}{more}"


def path_fields(path: str) -> tuple[str | None, str | None]:
    """Return `path` and `path_b64` of the entry of a file: the second alone for a name that is not UTF-8."""
    if any("\udc80" <= character <= "\udcff" for character in path):
        return None, base64.b64encode(path_bytes(path)).decode()
    return path, None


def _name(file: FileEntry | MissingFile) -> str:
    if file.path is not None:
        return file.path
    return base64.b64decode(file.path_b64 or "").decode(errors="surrogateescape")


def _order(file: FileEntry | MissingFile) -> bytes:
    return path_bytes(file.name)


def _check_spelling(file: FileEntry | MissingFile, where: str) -> None:
    if (file.path is None) == (file.path_b64 is None):
        raise IntegrityError(f"{where}: exactly one of `path` and `path_b64` must be set")
    if file.path_b64 is None:
        if isinstance(file, FileEntry):
            check_file_path(file.name)
        return
    try:
        base64.b64decode(file.path_b64, validate=True).decode()
    except UnicodeDecodeError:
        return
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"{where}: `path_b64` is not base64") from error
    raise IntegrityError(f"{where}: `path_b64` is for names that are not UTF-8")


def stays_inside(path: str, target: str) -> bool:
    """Return whether a link at `path` to `target` ends inside the package, without accessing any file system.

    `..` is allowed at the start only: after the name of another link it would lead to that link's parent.
    """
    if target.startswith("/") or "\\" in target or "\0" in target:
        return False
    steps = target.split("/")
    ups = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    return ups <= path.count("/") and not {"", ".", ".."} & set(steps[ups:])


def _recipes(manifest: Manifest) -> Iterator[tuple[Run, ...]]:
    yield from (file.recipe for file in manifest.files)
    yield from (answer.recipe for answer in manifest.raw)


def _sum_sizes(ends: Sequence[int], recipe: tuple[Run, ...], where: str) -> int:
    """Return the size of a recipe in bytes; `ends` are the cumulative sizes of the object table, starting with 0."""
    total = 0
    for first, count in recipe:
        if first < 0 or count < 1 or first + count >= len(ends):
            raise IntegrityError(f"{where}: the recipe names rows outside the object table")
        total += ends[first + count] - ends[first]
    return total


Rights = Literal["open", "restricted", "gated"]
"""Whether the files may be redistributed. Packs and volumes never mix packages with different rights."""


MAX_SEQUENCE = (1 << 53) - 1
"""Limit of the number of a capture: the largest integer that every JSON reader keeps."""


class Capture(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One capture of one package. A count that the hub did not give is None, never 0.

    `sequence` is the number that the store gave the capture, which decides which of two is newer. Versions before it
    gave none; their captures are older than all that have one, and among them `captured` decides. `missing` is the
    number of files that were not captured. `sources` has where each fact was read, by field of the uniform record.
    `scan` is what scanners found in the files, None if none looked.
    """

    FORMAT: ClassVar[str] = "ptmtorrent/capture"
    VERSION: ClassVar[int] = 2
    OLDER: ClassVar[str] = canonical.OLDER_STORE
    FEATURES: ClassVar[frozenset[str]] = frozenset({MISSING_FEATURE})

    package: PackageName
    snapshot: SnapshotId
    captured: str
    listed: str
    rights: Rights
    licence: str | None = None
    downloads: int | None = None
    likes: int | None = None
    task: str | None = None
    library: str | None = None
    tags: tuple[str, ...] = ()
    modified: str | None = None
    title: str | None = None
    owner: str | None = None
    creators: tuple[str, ...] = ()
    url: str | None = None
    owner_url: str | None = None
    architecture: str | None = None
    datasets: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    description: str | None = None
    sources: dict[str, str] = msgspec.field(default_factory=dict)
    missing: int = 0
    sequence: int | None = None
    scan: Scan | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for a malformed id or number; the document decoder turns it into an `IntegrityError`."""
        if not is_hex64(self.snapshot):
            raise ValueError("`snapshot` is not 64 lowercase hex digits")
        if not 0 <= self.missing <= MAX_SEQUENCE:
            raise ValueError(f"`missing` is {self.missing}")
        if self.sequence is not None and not 1 <= self.sequence <= MAX_SEQUENCE:
            raise ValueError(f"`sequence` is {self.sequence}")

    def with_licence(self, licence: str | None, source: str) -> "Capture":
        """Return the capture with another licence, which `source` states."""
        return msgspec.structs.replace(self, licence=licence, sources={**self.sources, "licence": source})

    @property
    def order(self) -> tuple[int, str]:
        """The key that sorts captures of one package, the newest last."""
        return (self.sequence or 0, self.captured)
