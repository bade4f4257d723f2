"""The store: put objects and files, read them back verified, seal packs.

::

    store/
      version.json                     version of this layout
      lock                             held by writers
      index.sqlite                     can be rebuilt from the packs
      open/<class>-<rights>[.<mark>].part   unsealed packs, rechecked before writing continues
      packs/<2 hex>/<id>.pack          sealed packs, never changed
      hashes/<2 hex>/<id>.json         SHA-1 pieces and SHA-256 trees of packs

Write order: packs, then hashes, then index. Readers go the other way, so whatever the index lists exists on disk, and
every object that is read is checked against its id.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ptmtorrent.disk.locks import SharedLock
from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError, StoreLocked
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, SnapshotId, object_id
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.placement import Location
from ptmtorrent.model.text import spell_size
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs, cutters
from ptmtorrent.store.contents import INDEX_NAME, Contents
from ptmtorrent.store.cutters import ByteSource, Cut, Nearby
from ptmtorrent.store.index import Found, Index, open_index
from ptmtorrent.store.ingest.delta_base import Bases
from ptmtorrent.store.ingest.encode_pool import Coded, Coder, Put, pieces_in_flight, put_pieces
from ptmtorrent.store.ingest.files import Expected, StableFile, check_expected, hash_file, open_stable
from ptmtorrent.store.ingest.writer import Writer
from ptmtorrent.store.pack.format import RIGHTS, ObjectKind, PackClass, encode_record
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, open_pack, pack_in
from ptmtorrent.store.recovery import import_pack, recover
from ptmtorrent.store.stored_file import StoredFile, StoredSource
from ptmtorrent.store.version import check_version, stamp_version

__all__ = ["Expected", "Store", "StoredFile"]

MEMORY_BYTES = 512 << 20
"""Default memory limit of a process that stores files (512 MiB)."""

_SEALING_SECONDS, _POLL_SECONDS = 2.0, 0.02
"""Time to wait for the index row of a pack that another process has just sealed, and how often to look."""

MAX_DEPTH = 2
"""Limit of deltas between an object and plain bytes, in packs of any writer."""


class Store:
    """An open store. Thread-safe; any number of processes may read and write. Leaving the context commits."""

    def __init__(  # noqa: PLR0913  # the parts that `open` made
        self,
        root: Path,
        index: Index,
        held: ExitStack,
        *,
        pool: ThreadPoolExecutor | None = None,
        writer: Writer | None = None,
        in_flight: int = 1,
        delta: bool = True,
    ) -> None:
        self.root = root
        self._index = index
        self._writer = writer
        self._held = held
        self._pool = pool
        self._in_flight = in_flight
        self._lock = threading.RLock()
        self._file_lock = threading.Lock()
        self._broken = False
        self._closed = False
        bases = Bases(find=self._lookup, read=self.read, similar_objects=self._similar_objects)
        self._coder = Coder(bases, self.source, delta=delta)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        write: bool = False,
        exclusive: bool = False,
        memory: int = MEMORY_BYTES,
        delta: bool = True,
    ) -> "Store":
        """Open the store at `root`; for writing, create it if it is missing and recover it after a crash.

        Several processes may write, each its own parts; `exclusive` opens it for writing exclusively. A writing process
        stays below `memory` bytes; without `delta` no object is stored as a delta.

        Raises:
            StoreLocked: another process is writing the store, and it or this one needs it exclusively.
            NotFound: there is no store to read.
            UnsupportedFormat: a newer version wrote it.
            UsageError: `memory` is too small.
            StoreError: it cannot be read.
        """
        if not (write or exclusive):
            check_version(root)
            return cls(root, open_index(root / INDEX_NAME, write=False), ExitStack())
        in_flight = pieces_in_flight(memory)
        with ExitStack() as stack:
            lock = stack.enter_context(SharedLock(root))
            first = lock.exclusive
            if exclusive:
                _require_exclusive(root, lock)
            stamp_version(root)
            check_version(root)
            index = open_index(root / INDEX_NAME, write=True)
            stack.callback(index.close)
            pool = ThreadPoolExecutor(_workers(in_flight), thread_name_prefix="store")
            stack.callback(pool.shutdown)
            parts = recover.recover_store(root, index, pool) if first else []
            if not exclusive:
                lock.share()
            writer = Writer(root, index, parts, pool, first=first)
            return cls(root, index, stack.pop_all(), pool=pool, writer=writer, in_flight=in_flight, delta=delta)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None and not self._broken:
                self.commit()
        except PtmError:
            # The error that ended the block is more informative than a failed commit after it.
            if error is None:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Close the store without committing."""
        with self._lock:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
            self._writer = None
        if self._pool is not None:
            self._pool.shutdown()  # without the lock, because its workers may wait for it
        with self._lock:
            with suppress(StoreError):
                self._index.close()
            self._held.close()

    def has(self, id: ObjectId) -> bool:  # noqa: A002  # the word of the formats
        """Return whether the store has the object, sealed or not."""
        return self._lookup(id) is not None

    def can_be_base(self, id: ObjectId, rights: Rights) -> bool:  # noqa: A002
        """Return whether the object can be the base of a delta in packs of `rights`: as free, and no delta itself."""
        found = self._lookup(id)
        return found is not None and found.entry.base is None and self._is_stored(id, rights)

    def location(self, id: ObjectId) -> Location:  # noqa: A002
        """Return the pack and offset of a sealed object.

        Raises:
            NotFound: the store lacks it, or its part is not sealed yet.
        """
        found = self._find(id)
        if found.pack is None:
            raise NotFound(f"the object `{id}` is not in a sealed pack yet")
        entry = found.entry
        return Location(
            pack=found.pack, pack_size=found.size, offset=entry.offset, length=entry.stored, codec=entry.codec
        )

    def find_all(self, identifiers: Sequence[ObjectId]) -> list[Found | None]:
        """Return where each of `identifiers` is, sealed or not, in one pass; None for those that the store lacks."""
        with self._lock:
            found = self._index.find_all(identifiers)
            if self._writer is not None and self._writer.pending.objects:
                pending = self._writer.pending.objects
                return [pending.get(each) or known for each, known in zip(identifiers, found, strict=True)]
        return found

    def base_of(self, id: ObjectId) -> ObjectId | None:  # noqa: A002
        """Return the base of an object that is stored as a delta; None if it is stored plain.

        Raises:
            NotFound: the store lacks it.
        """
        return self._find(id).entry.base

    def read(self, id: ObjectId) -> bytes:  # noqa: A002
        """Return the raw bytes of an object, sealed or not, checked against its id.

        Raises:
            NotFound: the store lacks it.
            IntegrityError: its pack or that of its base is damaged.
        """
        return self._read(id, MAX_DEPTH)

    def source(self, file: StoredFile) -> ByteSource:
        """Return a source that reads a stored file at any offset."""
        return StoredSource(file, self.read)

    def put(
        self,
        data: bytes | memoryview,
        *,
        dtype: str | None = None,
        kind: ObjectKind = "data",
        pack_class: PackClass,
    ) -> ObjectId:
        """Store an object unless the store has it; return its id. `dtype` is the safetensors name of its numbers.

        An object with stricter rights in the store is stored again, so that an open pack never needs a gated one.

        Raises:
            NoSpace: the disk is full; all earlier objects are kept.
        """
        view = memoryview(data).cast("B")
        if len(view) > codecs.MAX_RAW_BYTES:
            raise StoreError(f"an object of {spell_size(len(view))} is longer than {spell_size(codecs.MAX_RAW_BYTES)}")
        identifier = object_id(view)
        if not self._is_stored(identifier, pack_class.rights):
            coded = Coded(identifier, len(view), codecs.encode(view, dtype))
            self.append(coded, kind, pack_class)
        return identifier

    def add_file(  # noqa: PLR0913  # a file, its expected hashes, its pack class, its possible bases
        self,
        path: Path,
        name: str,
        expected: Expected,
        pack_class: PackClass,
        *,
        bases: Sequence[StoredFile] = (),
        nearby: Nearby | None = None,
    ) -> StoredFile:
        """Check a file against `expected`, then cut it and store its objects.

        `name` is its path in its package, `nearby` returns other files of the package; `bases` are files of which this
        one is probably a later version. Concurrent calls hash in parallel and store one after the other.

        Raises:
            IntegrityError: size or hash differ from `expected`, and nothing was stored; or the file changed meanwhile.
            NoSpace: the disk is full; run again to continue.
        """
        with open_stable(path) as stable:
            cut = cutters.cut(stable.source, name, nearby)
            has_sha256 = (expected.oid or "").startswith("sha256:")
            hashes = hash_file(stable, cut.pieces, git=not has_sha256)
            stable.check()
            check_expected(hashes, expected, name)
            file = self.known_file(f"blake3:{hashes.blake3}", pack_class.rights)
            if file is None:
                self._put_file(stable, cut, hashes.objects, pack_class, bases)
                file = hashes.file(cut)
            elif hashes.git_sha1 is not None:
                file = msgspec.structs.replace(file, git_sha1=hashes.git_sha1)
        with self._writing() as writer:
            writer.pending.add_file(file)
        return file

    def known_file(self, oid: str, rights: Rights | None = None) -> StoredFile | None:
        """Return the file with the oid `sha256:...`, `git:...` or `blake3:...`; None unless the store has all of it.

        With `rights`, all objects of the file must be in packs with the same or freer rights.
        """
        with self._lock:
            file = self._writer.pending.file(oid) if self._writer is not None else None
            if file is not None:
                places = [self._lookup(identifier) for identifier, _ in file.objects]
                strictest = max((RIGHTS.index(place.rights) for place in places if place is not None), default=0)
            elif (found := self._index.file(oid)) is not None:
                file, strictest = found[0], RIGHTS.index(found[1])
        if file is None or (rights is not None and strictest > RIGHTS.index(rights)):
            return None
        return file

    def commit(self) -> None:
        """Make everything stored so far durable: the open parts first, then the index."""
        with self._writing() as writer:
            writer.commit()

    def add_capture(self, capture: Capture) -> None:
        """Store a capture, after its manifest; the commit gives it a number above those of all captures before it.

        Raises:
            NotFound: the store lacks the manifest.
        """
        self._find(ObjectId(capture.snapshot))
        with self._writing() as writer:
            writer.pending.unnumbered.append(capture)

    def captures(self) -> list[Capture]:
        """Return the newest capture of every package, sorted by package."""
        with self._lock:
            rows = self._index.captures()
            if self._writer is not None:
                return self._writer.pending.newest(rows)
        return [canonical.decode(data, Capture, name="a capture") for data in rows]

    def newest_captures(self) -> Iterator[tuple[PackageName, SnapshotId, Rights]]:
        """Yield package, snapshot and rights of the newest committed capture of every package, sorted by package."""
        return self._index.newest_captures(self._lock)

    def latest_moment(self) -> str | None:
        """Return the latest time that a capture in the index says it was made at, None without a capture."""
        with self._lock:
            return self._index.latest_moment()

    def seal(self) -> list[PackId]:
        """Seal the open parts of this process; return the new packs."""
        with self._writing() as writer:
            return writer.seal_all()

    def pack_hashes(self, pack: PackId) -> PackHashes:
        """Return the hashes computed when the pack was sealed; if they are lost, hash the pack again.

        Raises:
            NotFound: the store lacks the pack.
            IntegrityError: the pack had to be hashed again and is damaged.
        """
        path = self.pack_file(pack)
        known = read_sidecar(self.root, pack)
        if known is not None:
            return known[0]
        hashes = hash_pack(path, pack)
        if self._writer is not None:
            write_sidecar(self.root, hashes, own=self.is_own(pack))
        return hashes

    def is_own(self, pack: PackId) -> bool:
        """Return whether a pack without stored hashes is our own, according to the index."""
        with self._lock:
            return pack in self._index.packs() and self._index.has_documents_of(pack)

    def pack_file(self, pack: PackId) -> Path:
        """Return the path of a sealed pack.

        Raises:
            NotFound: the store lacks the pack.
        """
        path = pack_in(self.root, pack)
        if not path.is_file():
            raise NotFound(f"the store `{self.root}` has no pack `{pack}`")
        return path

    @property
    def contents(self) -> Contents:
        """The packs, parts and objects that the index lists, for maintenance."""
        return Contents(self._index, self._lock)

    def packs(self) -> list[PackId]:
        """Return the sealed packs, sorted."""
        with self._lock:
            return list(self._index.packs())

    def adopt_pack(self, path: Path, pack: PackId) -> None:
        """Move a pack from a channel into the store, from a path on the same filesystem, and index its objects.

        Its manifests and captures are not trusted: it adds no known files and no captures. All objects are verified,
        because one that the index lists wrongly would never be stored again; deltas without a base are not indexed.

        Raises:
            IntegrityError: its bytes do not hash to `pack`, or are not a valid pack; nothing was moved.
            UnsupportedFormat: it needs a newer version; nothing was moved.
        """
        checked = import_pack.check(path, pack, self._read_plain)
        with self._writing() as writer:
            writer.commit()
            import_pack.adopt(self.root, self._index, path, checked)

    def rebuild_index(self) -> None:
        """Rebuild the index by a forward scan of all packs. The store must be open with `exclusive`."""
        with self._writing() as writer:
            writer.commit()
            recover.rebuild(self.root, self._index, writer.parts)

    def _lookup(self, identifier: ObjectId) -> Found | None:
        with self._lock:
            return self._index.find(identifier) if self._writer is None else self._writer.find(identifier)

    def _find(self, identifier: ObjectId) -> Found:
        found = self._lookup(identifier)
        if found is None:
            raise NotFound(f"the store `{self.root}` has no object `{identifier}`")
        return found

    def _read(self, identifier: ObjectId, depth: int) -> bytes:
        found = self._find(identifier)
        base: bytes | None = None
        if found.entry.base is not None:
            if not depth:
                raise IntegrityError(f"the object `{identifier}` needs a chain of more than {MAX_DEPTH} bases")
            base = self._read(found.entry.base, depth - 1)
        until = time.monotonic() + _SEALING_SECONDS
        while True:
            try:
                with open_pack(self._path_of(found)) as reader:
                    return reader.object(found.entry, base)
            except (IntegrityError, StoreError):
                # The part was sealed after the lookup, and a new part may have its name: wait for the index.
                again = self._find(identifier)
                if again == found:
                    if found.pack is not None or time.monotonic() > until or self._is_recorded(found):
                        raise
                    time.sleep(_POLL_SECONDS)
                if again.entry.base != found.entry.base:
                    return self._read(identifier, depth)
                found = again

    def _is_recorded(self, found: Found) -> bool:
        """Return whether the part is the one that the index lists: it has the record of the object at its offset."""
        record = encode_record(found.entry)
        with suppress(IntegrityError, StoreError), open_pack(self._path_of(found)) as reader:
            return reader.read(max(0, found.entry.offset - len(record)), len(record)) == record
        return False

    def _read_plain(self, identifier: ObjectId) -> bytes:
        """Return an object that is stored plain and can be the base of a delta."""
        if self.base_of(identifier) is not None:
            raise IntegrityError(f"the object `{identifier}` is stored as a delta and cannot be a base")
        return self.read(identifier)

    def _path_of(self, found: Found) -> Path:
        if found.pack is not None:
            return pack_in(self.root, found.pack)
        return self.root / "open" / str(found.part)

    def _put_file(
        self, stable: StableFile, cut: Cut, ids: Sequence[ObjectId], pack_class: PackClass, bases: Sequence[StoredFile]
    ) -> None:
        if self._pool is None or self._closed:
            raise self._not_writable()
        put = Put(
            is_here=partial(self._is_stored, rights=pack_class.rights),
            code=partial(self._coder.code, declared=self._coder.declared(bases), rights=pack_class.rights),
            append=partial(self.append, kind="data", pack_class=pack_class),
            pool=self._pool,
            in_flight=self._in_flight,
        )
        with self._file_lock:
            put_pieces(stable, cut.pieces, ids, put)

    def _similar_objects(self, keys: Sequence[int], limit: int) -> list[ObjectId]:
        with self._lock:
            fresh = self._writer.pending.similar_objects(keys, limit) if self._writer is not None else []
            return [*fresh, *self._index.similar_objects(keys, limit)]

    def append(self, coded: Coded, kind: ObjectKind, pack_class: PackClass, *, again: bool = False) -> None:
        """Store an encoded object unless the store has it (or `again`); the base of a delta must be in the store."""
        with self._writing() as writer:
            if again or not self._is_stored(coded.id, pack_class.rights):
                writer.append(coded, kind, pack_class)

    def _is_stored(self, identifier: ObjectId, rights: Rights) -> bool:
        found = self._lookup(identifier)
        return found is not None and RIGHTS.index(found.rights) <= RIGHTS.index(rights)

    def _not_writable(self) -> StoreError:
        return StoreError(f"the store `{self.root}` is {'closed' if self._closed else 'open for reading only'}")

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """Yield the writer, under the lock.

        A full disk leaves the parts as they were; after any other failure the store must be opened again to write.
        """
        with self._lock:
            if self._writer is None:
                raise self._not_writable()
            if self._broken:
                raise StoreError(
                    f"an earlier write to the store `{self.root}` failed", hint="run the same command again"
                )
            try:
                yield self._writer
            except BaseException as error:
                undone = isinstance(error, NoSpace) and isinstance(error.__cause__, OSError)
                self._broken = not undone or not self._writer.is_whole
                raise


def _require_exclusive(root: Path, lock: SharedLock) -> None:
    if not lock.exclusive:
        raise StoreLocked(
            f"other processes are writing the store `{root}`, and this command needs it exclusively",
            hint="wait until they have ended, then run the same command again",
        )
    lock.keep()


def _workers(in_flight: int) -> int:
    return max(1, min(in_flight, len(os.sched_getaffinity(0))))
