"""From stored files to a manifest: one object table, every object once, recipes as runs of its rows."""

import base64
from collections.abc import Iterable, Mapping

from ptmtorrent.hubs.port import Described, HubFile, Listed
from ptmtorrent.model.capture import Capture, Rights
from ptmtorrent.model.ids import ObjectId, SnapshotId
from ptmtorrent.model.kinds import file_kind
from ptmtorrent.model.manifest import MAX_OBJECT_BYTES, FileEntry, Manifest, RawAnswer, Run, new_manifest
from ptmtorrent.model.names import path_bytes
from ptmtorrent.store.pack.classes import PackClass
from ptmtorrent.store.store import Store, StoredFile

POPULAR_DOWNLOADS = 50
"""More downloads than this in 30 days make a package popular (as PeaTMOSS), and its packs hot."""

SMALL_BYTES = 64 << 10
"""Weights below this (64 KiB) are kept with the small files."""


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
) -> Manifest:
    """Build the manifest of a package from its stored files, by path, and the objects of the hub's answers, by name.

    Raises:
        IntegrityError: a path no manifest may hold.
    """
    table = ObjectTable()
    entries = tuple(
        FileEntry(
            path=None if (odd := _is_odd(path)) else path,
            path_b64=base64.b64encode(path_bytes(path)).decode() if odd else None,
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
    return new_manifest(described.identity, entries, table.objects, raw)


def _is_odd(path: str) -> bool:
    """Tell whether a path holds bytes that are not UTF-8, as surrogate escapes."""
    return any("\udc80" <= character <= "\udcff" for character in path)


def put_answers(
    store: Store, answers: Iterable[tuple[str, bytes]], rights: Rights
) -> dict[str, tuple[tuple[ObjectId, int], ...]]:
    """Keep the hub's answers byte for byte; those of one name (the pages of a tree) follow one another."""
    kept: dict[str, tuple[tuple[ObjectId, int], ...]] = {}
    for name, data in answers:
        parts = [data[at : at + MAX_OBJECT_BYTES] for at in range(0, len(data), MAX_OBJECT_BYTES)]
        rows = tuple(
            (store.put(part, kind="answer", pack_class=PackClass("meta", rights)), len(part)) for part in parts
        )
        kept[name] = kept.get(name, ()) + rows
    return kept


def new_capture(described: Described, snapshot: SnapshotId, rights: Rights, *, captured: str, listed: str) -> Capture:
    """Build the record of what was known of the package when it was captured."""
    known = described.listed
    return Capture(
        format=Capture.FORMAT,
        version=Capture.VERSION,
        requires=(),
        package=described.identity.package,
        snapshot=snapshot,
        captured=captured,
        listed=listed,
        rights=rights,
        licence=known.licence,
        downloads=known.downloads,
        likes=known.likes,
        task=known.task,
        library=known.library,
        tags=known.tags,
        modified=known.modified,
    )


def is_weights(path: str, size: int) -> bool:
    """Tell whether a file is kept with the weights: by its kind, if it is not small."""
    return file_kind(path, size) == "weights" and size >= SMALL_BYTES


def class_of(file: HubFile, listed: Listed, rights: Rights) -> PackClass:
    """Return the class of the pack that a file goes to."""
    if file.answer is not None or not is_weights(file.path, file.size or 0):
        return PackClass("meta", rights)
    hot = (listed.downloads or 0) > POPULAR_DOWNLOADS
    return PackClass("weights-hot" if hot else "weights-cold", rights)
