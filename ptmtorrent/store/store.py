"""The store: put objects and files, read them back verified, seal packs.

::

    store/
      version.json                     what wrote it
      lock                             held by those who write
      index.sqlite                     can be rebuilt from the packs
      open/<class>-<rights>[.<mark>].part   unsealed packs, rechecked before they are continued
      packs/<2 hex>/<id>.pack          sealed packs, never changed
      hashes/<2 hex>/<id>.json         their SHA-1 pieces and SHA-256 trees

Write order: packs, then hashes, then index. Readers go the other way, so a name that is found leads to bytes that are
there, and every read is checked against the id.
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
from ptmtorrent.model.capture import Capture, Rights
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.placement import Location
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs, cutters
from ptmtorrent.store.contents import INDEX_NAME, Contents
from ptmtorrent.store.cutters import ByteSource, Cut, Nearby
from ptmtorrent.store.index import Found, Index, open_index
from ptmtorrent.store.ingest.delta_base import Bases
from ptmtorrent.store.ingest.encode_pool import Coded, Put, pieces_in_flight, put_pieces
from ptmtorrent.store.ingest.encoder import Coder
from ptmtorrent.store.ingest.files import Expected, StableFile, StoredFile, check_expected, hash_file, open_stable
from ptmtorrent.store.ingest.writer import Writer
from ptmtorrent.store.pack.classes import RIGHTS, ObjectKind, PackClass
from ptmtorrent.store.pack.format import encode_record
from ptmtorrent.store.pack.hashes import read_sidecar, write_sidecar
from ptmtorrent.store.pack.reader import hash_pack, open_pack, pack_in
from ptmtorrent.store.recovery import import_pack, recover
from ptmtorrent.store.stored_file import StoredSource
from ptmtorrent.store.version import check_version, stamp_version

__all__ = ["Expected", "Store", "StoredFile"]

MEMORY_BYTES = 512 << 20
"""What a process that stores files stays below, unless told otherwise (512 MiB)."""

_SEALING_SECONDS = 2.0
"""A part that another process seals has its new name before the index knows it."""

_POLL_SECONDS = 0.02

MAX_DEPTH = 2


class Store:
    """An open store. Thread-safe; several processes may write and any number read. Leaving the context commits."""

    def __init__(  # noqa: PLR0913  # what `open` found, by name
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
        self._turn = threading.Lock()
        self._broken = False
        self._closed = False
        bases = Bases(find=self._look, read=self.read, similar_objects=self._similar_objects)
        self._coder = Coder(bases, self.source, delta=delta)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        write: bool = False,
        alone: bool = False,
        memory: int = MEMORY_BYTES,
        delta: bool = True,
    ) -> "Store":
        """Open the store at `root`; a writer makes it when missing, and heals what a crash left.

        Writers share it, each with parts of its own, unless one wants it `alone`. The process of a writer stays below
        `memory` bytes; without `delta` every object is stored by itself.

        Raises:
            StoreLocked: another process writes it, and one of the two wants to be alone.
            NotFound: there is none to read.
            UnsupportedFormat: a newer version wrote it.
            UsageError: `memory` is too little.
            StoreError: it cannot be read.
        """
        if not (write or alone):
            check_version(root)
            return cls(root, open_index(root / INDEX_NAME, write=False), ExitStack())
        in_flight = pieces_in_flight(memory)
        with ExitStack() as stack:
            lock = stack.enter_context(SharedLock(root))
            first = lock.alone
            if alone:
                _refuse_company(root, lock)
            stamp_version(root)
            check_version(root)
            index = open_index(root / INDEX_NAME, write=True)
            stack.callback(index.close)
            pool = ThreadPoolExecutor(_workers(in_flight), thread_name_prefix="store")
            stack.callback(pool.shutdown)
            parts = []
            if first:
                parts = recover.recover_store(root, index, pool)
            if not alone:
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
            # What ended the block says more than that its leftovers could not be kept.
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
            self._pool.shutdown()  # without the lock, which its workers may wait for
        with self._lock:
            with suppress(StoreError):
                self._index.close()
            self._held.close()

    def has(self, id: ObjectId) -> bool:  # noqa: A002  # the word of the formats
        """Tell whether the object is here, sealed or not."""
        return self._look(id) is not None

    def can_be_base(self, id: ObjectId, rights: Rights) -> bool:  # noqa: A002
        """Tell whether a delta in packs of `rights` may lean on the object: it is here, as free, and no delta."""
        found = self._look(id)
        return found is not None and found.entry.base is None and self._is_here(id, rights)

    def location(self, id: ObjectId) -> Location:  # noqa: A002
        """Return where a sealed object lies.

        Raises:
            NotFound: not here, or in a part that is not sealed yet.
        """
        found = self._find(id)
        if found.pack is None:
            raise NotFound(f"the object `{id}` is not in a sealed pack yet")
        entry = found.entry
        return Location(
            pack=found.pack, pack_size=found.size, offset=entry.offset, length=entry.stored, codec=entry.codec
        )

    def base_of(self, id: ObjectId) -> ObjectId | None:  # noqa: A002
        """Return the base of an object that is stored as a delta; None for one that is not.

        Raises:
            NotFound: not here.
        """
        return self._find(id).entry.base

    def read(self, id: ObjectId) -> bytes:  # noqa: A002
        """Return the raw bytes of an object, sealed or not, checked against its id.

        Raises:
            NotFound: not here.
            IntegrityError: the pack is damaged, or that of its base.
        """
        return self._read(id, MAX_DEPTH)

    def source(self, file: StoredFile) -> ByteSource:
        """Return a stored file to read from, anywhere in it."""
        return StoredSource(file, self.read)

    def put(
        self,
        data: bytes | memoryview,
        *,
        dtype: str | None = None,
        kind: ObjectKind = "data",
        pack_class: PackClass,
    ) -> ObjectId:
        """Store an object unless it is here; return its id. `dtype` is safetensors' name of its numbers, if any.

        An object that is here under stricter rights is stored again, so that an open pack never needs a gated one.

        Raises:
            NoSpace: the disk is full; everything before is kept.
        """
        view = memoryview(data).cast("B")
        if len(view) > codecs.MAX_RAW_BYTES:
            raise StoreError(f"an object of {len(view)} bytes is longer than any may be")
        identifier = object_id(view)
        if not self._is_here(identifier, pack_class.rights):
            coded = Coded(identifier, len(view), codecs.encode(view, dtype))
            self.append(coded, kind, pack_class)
        return identifier

    def add_file(  # noqa: PLR0913  # a file, what was promised of it, where it goes, what it may lean on
        self,
        path: Path,
        name: str,
        expected: Expected,
        pack_class: PackClass,
        *,
        bases: Sequence[StoredFile] = (),
        nearby: Nearby | None = None,
    ) -> StoredFile:
        """Check a file against what was promised of it, then cut it and store its objects.

        `name` is its path in its package, `nearby` gives other files of that; `bases` are files of which this one is
        likely a later version. Files that are added at the same time are hashed side by side and stored in turn.

        Raises:
            IntegrityError: another size or hash than `expected`, and nothing is stored; or the file changed meanwhile.
            NoSpace: the disk is full; run again to go on.
        """
        with open_stable(path) as stable:
            cut = cutters.cut(stable.source, name, nearby)
            sha256_promised = (expected.oid or "").startswith("sha256:")
            hashes = hash_file(stable, cut.pieces, git=not sha256_promised)
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
        """Return the file with these bytes, by `sha256:...`, `git:...` or `blake3:...`, if all of it is here.

        With `rights`, only a file of which every object lies in packs at least that free.
        """
        with self._lock:
            file = self._writer.pending.file(oid) if self._writer is not None else None
            if file is not None:
                places = [self._look(identifier) for identifier, _ in file.objects]
                strictest = max((RIGHTS.index(place.rights) for place in places if place is not None), default=0)
            elif (found := self._index.file(oid)) is not None:
                file, strictest = found[0], RIGHTS.index(found[1])
        if file is None or (rights is not None and strictest > RIGHTS.index(rights)):
            return None
        return file

    def commit(self) -> None:
        """Make everything put so far survive a power cut: the open parts first, then the index."""
        with self._writing() as writer:
            writer.commit()

    def add_capture(self, capture: Capture) -> None:
        """Store a capture, whose manifest was put before.

        Raises:
            NotFound: the manifest is not here.
        """
        self._find(ObjectId(capture.snapshot))
        data = canonical.encode(capture)
        identifier = self.put(data, kind="capture", pack_class=PackClass("meta", capture.rights))
        with self._writing() as writer:
            writer.pending.add_capture((identifier, capture, data))

    def captures(self) -> list[Capture]:
        """Return the newest capture of every package, sorted by package."""
        with self._lock:
            rows = self._index.captures()
            if self._writer is not None:
                return self._writer.pending.newest(rows)
        return [canonical.decode(data, Capture, name="a capture") for data in rows]

    def seal(self) -> list[PackId]:
        """Finish the open parts of this process; return the packs that came of them."""
        with self._writing() as writer:
            return writer.seal_all()

    def pack_hashes(self, pack: PackId) -> PackHashes:
        """Return the hashes taken when the pack was sealed; a pack whose hashes were lost is read once more.

        Raises:
            NotFound: not here.
            IntegrityError: it had to be read, and is damaged.
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
        """Tell by the index alone whether what the pack says about hubs is to be believed: its hashes were lost."""
        with self._lock:
            return pack in self._index.packs() and self._index.has_documents_of(pack)

    def pack_file(self, pack: PackId) -> Path:
        """Return the file of a sealed pack.

        Raises:
            NotFound: not here.
        """
        path = pack_in(self.root, pack)
        if not path.is_file():
            raise NotFound(f"the store `{self.root}` has no pack `{pack}`")
        return path

    @property
    def contents(self) -> Contents:
        """The packs, parts and objects that the index lists; for maintenance."""
        return Contents(self._index, self._lock)

    def packs(self) -> list[PackId]:
        """Return the sealed packs, sorted."""
        with self._lock:
            return list(self._index.packs())

    def adopt_pack(self, path: Path, pack: PackId) -> None:
        """Move a pack that came from elsewhere in, from the same filesystem, and index it.

        What it says about hubs is not believed: it brings objects, no known files and no captures. What it says about
        objects is checked, every one: an object that the index wrongly calls here would never be stored again. Deltas
        whose base is not here stay unknown.

        Raises:
            IntegrityError: its bytes are not those that `pack` names, or are no pack, or it names an object that it
                does not hold; nothing was moved.
            UnsupportedFormat: it holds what this version cannot read; nothing was moved.
        """
        checked = import_pack.check(path, pack, self._read_plain)
        with self._writing() as writer:
            writer.commit()
            import_pack.adopt(self.root, self._index, path, checked)

    def rebuild_index(self) -> None:
        """Make the index again by a forward scan of all packs. The store must be open alone."""
        with self._writing() as writer:
            writer.commit()
            recover.rebuild(self.root, self._index, writer.parts)

    def _look(self, identifier: ObjectId) -> Found | None:
        with self._lock:
            return self._index.find(identifier) if self._writer is None else self._writer.find(identifier)

    def _find(self, identifier: ObjectId) -> Found:
        found = self._look(identifier)
        if found is None:
            raise NotFound(f"the store `{self.root}` has no object `{identifier}`")
        return found

    def _read(self, identifier: ObjectId, depth: int) -> bytes:
        found = self._find(identifier)
        base: bytes | None = None
        if found.entry.base is not None:
            if not depth:
                raise IntegrityError(f"the object `{identifier}` is a delta of a delta of a delta")
            base = self._read(found.entry.base, depth - 1)
        until = time.monotonic() + _SEALING_SECONDS
        while True:
            try:
                with open_pack(self._path_of(found)) as reader:
                    return reader.object(found.entry, base)
            except (IntegrityError, StoreError):
                # Sealed between the two lines, and perhaps a new part begun under the name: the index knows soon.
                again = self._find(identifier)
                if again == found:
                    if found.pack is not None or time.monotonic() > until or self._is_recorded(found):
                        raise
                    time.sleep(_POLL_SECONDS)
                if again.entry.base != found.entry.base:
                    return self._read(identifier, depth)
                found = again

    def _is_recorded(self, found: Found) -> bool:
        """Tell whether the part still is the one the index means: the record of the object is where it should be."""
        record = encode_record(found.entry)
        with suppress(IntegrityError, StoreError), open_pack(self._path_of(found)) as reader:
            return reader.read(max(0, found.entry.offset - len(record)), len(record)) == record
        return False

    def _read_plain(self, identifier: ObjectId) -> bytes:
        """Return an object that is no delta, and may be the base of one."""
        if self.base_of(identifier) is not None:
            raise IntegrityError(f"the object `{identifier}` is stored as a delta, and is no base")
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
            is_here=partial(self._is_here, rights=pack_class.rights),
            code=partial(self._coder.code, declared=self._coder.declared(bases), rights=pack_class.rights),
            append=partial(self.append, kind="data", pack_class=pack_class),
            pool=self._pool,
            in_flight=self._in_flight,
        )
        with self._turn:
            put_pieces(stable, cut.pieces, ids, put)

    def _similar_objects(self, keys: Sequence[int], most: int) -> list[ObjectId]:
        with self._lock:
            fresh = self._writer.pending.similar_objects(keys, most) if self._writer is not None else []
            return [*fresh, *self._index.similar_objects(keys, most)]

    def append(self, coded: Coded, kind: ObjectKind, pack_class: PackClass) -> None:
        """Store an object that is encoded already, unless it is here; the base of a delta must be here."""
        with self._writing() as writer:
            if not self._is_here(coded.id, pack_class.rights):
                writer.append(coded, kind, pack_class)

    def _is_here(self, identifier: ObjectId, rights: Rights) -> bool:
        found = self._look(identifier)
        return found is not None and RIGHTS.index(found.rights) <= RIGHTS.index(rights)

    def _not_writable(self) -> StoreError:
        return StoreError(f"the store `{self.root}` is {'closed' if self._closed else 'open for reading alone'}")

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """Hold the lock and give the writer.

        A full disk leaves the parts as they were; after any other failure nothing is written until the store is opened
        again, which rechecks them.
        """
        with self._lock:
            if self._writer is None:
                raise self._not_writable()
            if self._broken:
                raise StoreError(f"the store `{self.root}` failed to write before", hint="run the same command again")
            try:
                yield self._writer
            except BaseException as error:
                undone = isinstance(error, NoSpace) and isinstance(error.__cause__, OSError)
                self._broken = not undone or not self._writer.is_whole
                raise


def _refuse_company(root: Path, lock: SharedLock) -> None:
    if not lock.alone:
        raise StoreLocked(
            f"`{root}` is being written by other processes, and this has to be done alone",
            hint="wait until they are done, then run the same command again",
        )
    lock.keep()


def _workers(in_flight: int) -> int:
    return max(1, min(in_flight, len(os.sched_getaffinity(0))))
