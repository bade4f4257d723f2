"""One package from its first stored file to its manifest and its capture.

A manifest has one object table with every object once; recipes are runs of its rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ptmtorrent.errors import AuthError, IntegrityError, NotFound, PtmError
from ptmtorrent.facts.licences import rights_of
from ptmtorrent.hubs.client.download import PointerServed
from ptmtorrent.hubs.client.status_errors import HostUnreachable, InternalAddress, PackageClosed, PackageGone
from ptmtorrent.hubs.port import Described, HubFile, Listed
from ptmtorrent.hubs.record import build_record, facts_of
from ptmtorrent.model.bounds import MAX_MEMORY_BYTES, json_memory
from ptmtorrent.model.canonical import MAX_DOCUMENT_BYTES
from ptmtorrent.model.findings import Scan
from ptmtorrent.model.ids import ObjectId, SnapshotId, path_bytes
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import (
    MAX_OBJECT_BYTES,
    MISSING_FEATURE,
    Capture,
    FileEntry,
    Manifest,
    MissingFile,
    MissingReason,
    RawAnswer,
    Rights,
    Run,
    encode_manifest,
    new_manifest,
    path_fields,
)
from ptmtorrent.model.text import count, spell_size
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.store.cutters import may_describe, needs_nearby
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Store, StoredFile
from ptmtorrent.workflows.clone.plan import PackagePlan

POPULAR_DOWNLOADS = 50
"""More downloads than this in 30 days make a package popular (as PeaTMOSS), and its packs hot."""

SMALL_BYTES = 64 << 10
"""Weights below this (64 KiB) are kept with the small files."""

Weights = tuple[tuple[str, StoredFile], ...]
"""Weights files of one package: each path, and the file stored for it."""


class LostFile(NamedTuple):
    """A file that cannot be had, the reason, and the error that said so, if one did."""

    file: HubFile
    reason: MissingReason
    error: PtmError | None

    def spell(self) -> str:
        """Return path, reason and error for people."""
        why = "" if self.error is None else f": {self.error.message}"
        return f"`{self.file.path}` ({self.reason}{why})"


def reason_for(error: PtmError, file: HubFile, listed: Listed) -> MissingReason | None:
    """Return why `file` alone cannot be had; None for an error of its package, of the hub or of this machine.

    Wrong bytes are an error of the package: a proxy or a storm may send them, so they say nothing of the revision.
    """
    if file.answer is not None or isinstance(error, (PackageGone, PackageClosed)):
        return None
    if isinstance(error, (NotFound, PointerServed)):
        return "gone"
    if isinstance(error, HostUnreachable):
        return "unreachable"
    if isinstance(error, InternalAddress):
        return "refused"
    return "refused" if isinstance(error, AuthError) and listed.access == "public" else None


@dataclass(eq=False)
class OpenPackage:
    """A package in progress: files `stored` so far, keys of the `missing` ones, and files that wait for others.

    `lost` are the files that cannot be had, by path, `graphs` the paths of ONNX files that are not stored.
    """

    work: Work
    plan: PackagePlan
    rights: Rights
    stored: dict[str, tuple[HubFile, StoredFile]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    later: list[HubFile] = field(default_factory=list)
    lost: dict[str, "LostFile"] = field(default_factory=dict)
    graphs: set[str] = field(default_factory=set)

    @property
    def listed(self) -> Listed:
        """The package's record in the hub's listing."""
        return self.plan.described.listed

    @property
    def weights(self) -> Weights:
        """The weights files stored so far."""
        return tuple(
            (path, file)
            for path, (listed, file) in self.stored.items()
            if listed.answer is None and is_weights(path, file.size)
        )

    @property
    def is_complete(self) -> bool:
        """Whether all files are stored."""
        return not self.missing and not self.later

    @property
    def has_any(self) -> bool:
        """Whether a file of the package was stored."""
        return any(file.answer is None for file, _ in self.stored.values())

    def lose(self, file: HubFile, reason: MissingReason, error: PtmError | None = None) -> None:
        """Record that a file cannot be had, which costs its entry alone."""
        self.lost[file.path] = LostFile(file, reason, error)

    def class_of(self, file: HubFile) -> PackClass:
        """Return the class of the packs that one of its files belongs to."""
        return class_of(file, self.listed, self.rights)

    def take_ready(self) -> list[HubFile]:
        """Remove from `later` the files that can be stored now, and return them.

        External data of an ONNX file is cut by what that file says, and those of a TensorFlow checkpoint by its index.
        They therefore wait until all such files of their folder are stored: a recipe must not depend on which download
        was faster.
        """
        self.graphs = {path for path in self.graphs if path not in self.stored and path not in self.lost}
        graphs = {_folder(path) for path in self.graphs}

        def must_wait(path: str) -> bool:
            return _folder(path) in graphs and not may_describe(path) and needs_nearby(path)

        ready = [file for file in self.later if not must_wait(file.path)]
        self.later = [file for file in self.later if must_wait(file.path)]
        return ready


def open_package(work: Work, plan: PackagePlan) -> OpenPackage:
    """Return a package none of whose files is stored, the largest file first."""
    package = OpenPackage(
        graphs={file.path for file in plan.files if may_describe(file.path)},
        work=work,
        plan=plan,
        rights=rights_in(plan.described.listed),
        later=sorted((file for file in plan.files if file.missing is None), key=lambda file: -(file.size or 0)),
    )
    for file in plan.files:
        if file.missing is not None:
            package.lose(file, file.missing)
    return package


def rights_in(listed: Listed) -> Rights:
    """Return the right to redistribute a package, by its licence and its gate: what is not public is gated."""
    return rights_of(listed.licence, gated=listed.access != "public")


def is_weights(path: str, size: int) -> bool:
    """Return whether a file is kept with the weights: by its kind, unless it is small."""
    return file_kind(path, size) == "weights" and size >= SMALL_BYTES


def class_of(file: HubFile, listed: Listed, rights: Rights) -> PackClass:
    """Return the class of the packs that a file belongs to."""
    if file.answer is not None or not is_weights(file.path, file.size or 0):
        return PackClass("meta", rights)
    hot = (listed.downloads or 0) > POPULAR_DOWNLOADS
    return PackClass("weights-hot" if hot else "weights-cold", rights)


def capture(store: Store, package: OpenPackage, scan: Scan | None, *, captured: str, listed: str) -> SnapshotId:
    """Put the hub's answers, the manifest and the capture of a complete package, in this order; the caller commits.

    `scan` is what was found in its files.

    Raises:
        IntegrityError: a path that no manifest may hold, or a manifest longer than readers accept.
    """
    described, rights, lost = package.plan.described, package.rights, missing_files(package)
    answers = put_answers(store, (*described.answers, *package.plan.answers), rights)
    data, snapshot = encode_manifest(assemble(described, package.stored, answers, lost))
    if max(len(data) / MAX_DOCUMENT_BYTES, json_memory(data) / MAX_MEMORY_BYTES) > 1:
        raise IntegrityError(
            f"the manifest of `{described.identity.package}`, with {count(len(package.stored), 'file')}, would be "
            f"{spell_size(len(data))} long and take {spell_size(json_memory(data))} of memory, more than readers accept"
        )
    store.put(data, kind="manifest", pack_class=PackClass("meta", rights))
    made = new_capture(described, snapshot, rights, captured=captured, listed=listed)
    made = msgspec.structs.replace(made, scan=scan)
    if lost:
        made = msgspec.structs.replace(made, requires=(MISSING_FEATURE,), missing=len(lost))
    store.add_capture(made)
    return snapshot


def missing_files(package: OpenPackage) -> tuple[MissingFile, ...]:
    """Return the entries of the files that cannot be had, sorted by path."""
    entries = []
    for path, (file, reason, _) in sorted(package.lost.items(), key=lambda item: path_bytes(item[0])):
        plain, encoded = path_fields(path)
        entries.append(
            MissingFile(
                path=plain,
                path_b64=encoded,
                mode=file.mode,
                size=file.size,
                source=file.source,
                oid=file.oid,
                reason=reason,
            )
        )
    return tuple(entries)


class ObjectTable:
    """The object table of a manifest while it grows."""

    def __init__(self) -> None:
        self._rows: dict[ObjectId, int] = {}
        self._objects: list[tuple[ObjectId, int]] = []

    def recipe(self, objects: Iterable[tuple[ObjectId, int]]) -> tuple[Run, ...]:
        """Return the runs of rows whose objects are `objects`, in order; new objects get the next rows."""
        runs: list[Run] = []
        for identifier, size in objects:
            row = self._rows.setdefault(identifier, len(self._objects))
            if row == len(self._objects):
                self._objects.append((identifier, size))
            if runs and sum(runs[-1]) == row:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((row, 1))
        return tuple(runs)

    @property
    def objects(self) -> tuple[tuple[ObjectId, int], ...]:
        """All rows."""
        return tuple(self._objects)


def assemble(
    described: Described,
    files: Mapping[str, tuple[HubFile, StoredFile]],
    answers: dict[str, tuple[tuple[ObjectId, int], ...]],
    missing: tuple[MissingFile, ...] = (),
) -> Manifest:
    """Return the manifest of a package from its stored files, by path, and the objects of the hub's answers, by name.

    `missing` are its files that cannot be had.

    Raises:
        IntegrityError: a path that no manifest may hold.
    """
    table = ObjectTable()
    entries = tuple(
        FileEntry(
            path=path_fields(path)[0],
            path_b64=path_fields(path)[1],
            mode=file.mode,
            link=file.link,
            size=stored.size,
            source=file.source,
            blake3=stored.blake3,
            sha256=stored.sha256,
            git_sha1=stored.git_sha1 if file.source == "git" else None,
            cutter=stored.cutter,
            recipe=table.recipe(stored.objects),
        )
        for path, (file, stored) in sorted(files.items(), key=lambda item: path_bytes(item[0]))
        if file.answer is None
    )
    also = {file.answer: stored.objects for file, stored in files.values() if file.answer is not None}
    raw = tuple(RawAnswer(name=name, recipe=table.recipe(objects)) for name, objects in (answers | also).items())
    return new_manifest(described.identity, entries, table.objects, raw, missing)


def put_answers(
    store: Store, answers: Iterable[tuple[str, bytes]], rights: Rights
) -> dict[str, tuple[tuple[ObjectId, int], ...]]:
    """Put the hub's answers byte for byte; answers of one name (the pages of a tree) are concatenated."""
    kept: dict[str, tuple[tuple[ObjectId, int], ...]] = {}
    for name, data in answers:
        parts = [data[at : at + MAX_OBJECT_BYTES] for at in range(0, len(data), MAX_OBJECT_BYTES)]
        rows = tuple(
            (store.put(part, kind="answer", pack_class=PackClass("meta", rights)), len(part)) for part in parts
        )
        kept[name] = kept.get(name, ()) + rows
    return kept


def new_capture(described: Described, snapshot: SnapshotId, rights: Rights, *, captured: str, listed: str) -> Capture:
    """Return the record of what was known of the package when it was captured.

    Raises:
        HubError: the hub's answer cannot be read.
    """
    record = build_record(described.identity.hub, described.listed, commit=described.identity.commit)
    facts = facts_of(record)
    known: dict[str, Any] = {name: fact.value for name, fact in facts.items() if name != "revision"}
    return Capture(
        format=Capture.FORMAT,
        version=Capture.VERSION,
        requires=(),
        package=described.identity.package,
        snapshot=snapshot,
        captured=captured,
        listed=listed,
        rights=rights,
        sources={name: fact.source for name, fact in facts.items()},
        **known,
    )


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
