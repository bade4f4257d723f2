"""The store: put objects and files, read them back verified, seal packs.

::

    store/
      version.json                     version of this layout
      lock                             held by writers
      index.sqlite, index/<mark>.run   can be rebuilt from the packs
      open/<class>-<rights>[.<mark>].part   unsealed packs; what is not committed is rechecked before writing continues
      packs/<2 hex>/<id>.pack          sealed packs, never changed
      hashes/<2 hex>/<id>.json         SHA-1 pieces and SHA-256 trees of packs

Write order: packs, then hashes, then index. Readers go the other way, so whatever the index lists exists on disk, and
every object that is read is checked against its id.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from ptmtorrent.disk.durable import disk_errors, read_regular, write_file
from ptmtorrent.disk.locks import SharedLock
from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError, StoreLocked
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.text import spell_size
from ptmtorrent.store import codecs, cutters
from ptmtorrent.store.contents import INDEX_NAME
from ptmtorrent.store.cutters import Cut, Nearby
from ptmtorrent.store.index import Index, open_index
from ptmtorrent.store.ingest.delta_base import Bases
from ptmtorrent.store.ingest.encode_pool import Coded, Coder, Put, pieces_in_flight, put_pieces
from ptmtorrent.store.ingest.files import Expected, StableFile, check_expected, hash_file, open_stable
from ptmtorrent.store.ingest.writer import Writer
from ptmtorrent.store.pack.format import ObjectKind, PackClass
from ptmtorrent.store.recovery import import_pack, recover
from ptmtorrent.store.stored import Stored
from ptmtorrent.store.stored_file import StoredFile

VERSION_NAME = "version.json"


class StoreVersion(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The version document; `ptmtorrent.store.store` describes the layout."""

    FORMAT: ClassVar[str] = "ptmtorrent/store"
    VERSION: ClassVar[int] = 3
    OLDER: ClassVar[str] = canonical.OLDER_STORE


def stamp_version(root: Path) -> None:
    """Write `version.json` with this version to the folder `root`, unless the file exists."""
    path = root / VERSION_NAME
    if not path.exists():
        version = StoreVersion(format=StoreVersion.FORMAT, version=StoreVersion.VERSION, requires=())
        write_file(path, canonical.encode(version))


def check_version(root: Path) -> None:
    """Check that the store at `root` has a version that can be read.

    Raises:
        NotFound: there is no store.
        StoreError: `version.json` is missing or damaged.
        UnsupportedFormat: another version wrote it.
    """
    path = root / VERSION_NAME
    again = (
        f"if no other version of ptmtorrent wrote the store, {{}}create `{VERSION_NAME}` again: ptmtorrent store init"
    )
    if not path.is_file():
        if (root / "packs").is_dir() or (root / "index.sqlite").exists():
            raise StoreError(f"`{VERSION_NAME}` is missing from the store `{root}`", hint=again.format(""))
        raise NotFound(
            f"there is no store at `{root}`", hint="create one with `ptmtorrent clone` or `ptmtorrent fetch`"
        )
    with disk_errors(path):
        data = read_regular(path)
    try:
        canonical.decode(data, StoreVersion, name=str(path))
    except IntegrityError as error:
        raise StoreError(
            f"{error.message}: the file is damaged", hint=again.format(f"remove `{path}`, then ")
        ) from error


__all__ = ["Expected", "Store", "StoredFile"]

MEMORY_BYTES = 512 << 20
"""Default memory limit of a process that stores files (512 MiB)."""


class Store(Stored):
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
        super().__init__(root, index, writer)
        self._held = held
        self._pool = pool
        self._in_flight = in_flight
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

    def seal(self) -> list[PackId]:
        """Seal the open parts of this process; return the new packs."""
        with self._writing() as writer:
            return writer.seal_all()

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

    def append(self, coded: Coded, kind: ObjectKind, pack_class: PackClass, *, again: bool = False) -> None:
        """Store an encoded object unless the store has it (or `again`); the base of a delta must be in the store."""
        with self._writing() as writer:
            if again or not self._is_stored(coded.id, pack_class.rights):
                writer.append(coded, kind, pack_class)

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
