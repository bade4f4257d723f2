"""The store: put objects and files, read them back verified, seal packs.

::

    store/
      version.json                     what wrote it
      lock                             held by the one writer
      index.sqlite                     can be rebuilt from the packs
      open/<class>-<rights>.part       unsealed packs, rechecked before they are continued
      packs/<2 hex>/<id>.pack          sealed packs, never changed
      hashes/<2 hex>/<id>.json         their SHA-1 pieces and SHA-256 trees

Write order: packs, then hashes, then index. Readers go the other way, so a name that is found leads to bytes that are
there, and every read is checked against the id.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ptmtorrent.errors import IntegrityError, NoSpace, NotFound, PtmError, StoreError
from ptmtorrent.model import canonical
from ptmtorrent.model.capture import Capture, Rights
from ptmtorrent.model.ids import ObjectId, PackId, object_id
from ptmtorrent.model.placement import Location
from ptmtorrent.model.volume import PackHashes
from ptmtorrent.store import codecs, cutters, healing, intake
from ptmtorrent.store.classes import RIGHTS, ObjectKind, PackClass
from ptmtorrent.store.durable import ensure_dir, publish_file, sync_dir
from ptmtorrent.store.files import Expected, StoredFile, check_expected, hash_file, open_steady
from ptmtorrent.store.index import Found, Index, open_index
from ptmtorrent.store.locks import WriteLock
from ptmtorrent.store.packs import hash_pack, open_pack, pack_in
from ptmtorrent.store.parts import Part, new_part
from ptmtorrent.store.records import PackInfo
from ptmtorrent.store.sidecars import read_sidecar, write_sidecar
from ptmtorrent.store.version import check_version, stamp_version

__all__ = ["Expected", "Store", "StoredFile"]

WORKERS = 2
"""Threads that encode; numpy, zstd and the hashes let go of the GIL."""


class Store:
    """An open store. Thread-safe; one process writes, any number read. Leaving the context commits."""

    def __init__(self, root: Path, index: Index, parts: dict[PackClass, Part] | None, held: ExitStack) -> None:
        self._root = root
        self._index = index
        self._parts = parts
        self._held = held
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        self._broken = False
        self._info = PackInfo(libraries=codecs.versions(), parameters=codecs.parameters())

    @classmethod
    def open(cls, root: Path, *, write: bool = False) -> "Store":
        """Open the store at `root`; a writer makes it when missing, and heals what a crash left.

        Raises:
            StoreLocked: another process writes it.
            NotFound: there is none to read.
            UnsupportedFormat: a newer version wrote it.
            StoreError: it cannot be read.
        """
        if not write:
            check_version(root)
            index = open_index(root / "index.sqlite", write=False)
            return cls(root, index, None, ExitStack())
        with ExitStack() as stack:
            stack.enter_context(WriteLock(root))
            stamp_version(root)
            check_version(root)
            index = open_index(root / "index.sqlite", write=True)
            stack.callback(index.close)
            sync_dir(root)
            parts = healing.heal(root, index)
            return cls(root, index, parts, stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._parts is not None and not self._broken:
                self.commit()
        except PtmError:
            # What ended the block says more than that its leftovers could not be kept.
            if error is None:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the store without committing."""
        if self._pool is not None:
            self._pool.shutdown()
        with self._lock:
            for part in (self._parts or {}).values():
                part.close()
            self._parts = None
            with suppress(StoreError):
                self._index.close()
            self._held.close()

    def has(self, id: ObjectId) -> bool:  # noqa: A002  # the word of the formats
        """Tell whether the object is here, sealed or not."""
        with self._lock:
            return self._index.find(id) is not None

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

    def read(self, id: ObjectId) -> bytes:  # noqa: A002
        """Return the raw bytes of an object, sealed or not, checked against its id.

        Raises:
            NotFound: not here.
            IntegrityError: the pack is damaged.
        """
        found = self._find(id)
        try:
            return self._read(found)
        except (IntegrityError, StoreError):
            # Sealed between the two lines, and perhaps a new part begun under the name: the index knows by now.
            again = self._find(id)
            if again == found:
                raise
            return self._read(again)

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
        if memoryview(data).nbytes > codecs.MAX_RAW_BYTES:
            raise StoreError(f"an object of {memoryview(data).nbytes} bytes is longer than any may be")
        coded = self._encode(data, dtype, pack_class.rights)
        self._append(coded, kind, pack_class)
        return coded.id

    def add_file(self, path: Path, name: str, expected: Expected, pack_class: PackClass) -> StoredFile:
        """Check a file against what was promised of it, then cut it and store its objects.

        Raises:
            IntegrityError: another size or hash than `expected`, and nothing is stored; or the file changed meanwhile.
            NoSpace: the disk is full; run again to go on.
        """
        with open_steady(path) as steady:
            sha256_promised = (expected.oid or "").startswith("sha256:")
            hashes = hash_file(steady, git=not sha256_promised)
            check_expected(hashes, expected, name)
            known = self.known_file(f"blake3:{hashes.blake3}", pack_class.rights)
            if known is not None:
                known = msgspec.structs.replace(known, git_sha1=hashes.git_sha1 or known.git_sha1)
            else:
                cut = cutters.cut(steady.source, name)
                put = intake.Put(
                    encode=lambda data, dtype: self._encode(data, dtype, pack_class.rights),
                    append=lambda coded: self._append(coded, "data", pack_class),
                    pool=self._workers,
                )
                objects = intake.put_pieces(steady, cut, hashes, put)
                known = StoredFile(
                    size=hashes.size,
                    blake3=hashes.blake3,
                    sha256=hashes.sha256,
                    git_sha1=hashes.git_sha1,
                    cutter=cut.cutter,
                    objects=objects,
                )
        with self._writing():
            self._index.add_file(known)
        return known

    def known_file(self, oid: str, rights: Rights | None = None) -> StoredFile | None:
        """Return the file with these bytes, by `sha256:...`, `git:...` or `blake3:...`, if all of it is here.

        With `rights`, only a file of which every object lies in packs at least that free.
        """
        with self._lock:
            found = self._index.file(oid)
        if found is None or (rights is not None and RIGHTS.index(found[1]) > RIGHTS.index(rights)):
            return None
        return found[0]

    def commit(self) -> None:
        """Make everything put so far survive a power cut: the open parts first, then the index."""
        with self._writing() as parts:
            for part in parts.values():
                part.sync()
            self._index.commit()

    def add_capture(self, capture: Capture) -> None:
        """Store a capture, whose manifest was put before.

        Raises:
            NotFound: the manifest is not here.
        """
        self._find(ObjectId(capture.snapshot))
        data = canonical.encode(capture)
        identifier = self.put(data, kind="capture", pack_class=PackClass("meta", capture.rights))
        with self._writing():
            self._index.add_capture(identifier, capture, data)

    def captures(self) -> list[Capture]:
        """Return the newest capture of every package, sorted by package."""
        with self._lock:
            rows = self._index.captures()
        return [canonical.decode(data, Capture, name="a capture") for data in rows]

    def seal(self) -> list[PackId]:
        """Finish the open parts; return the packs that came of them."""
        with self._writing() as parts:
            return self._seal([pack_class for pack_class, part in sorted(parts.items()) if part.entries])

    def pack_hashes(self, pack: PackId) -> PackHashes:
        """Return the hashes taken when the pack was sealed; a pack whose hashes were lost is read once more.

        Raises:
            NotFound: not here.
            IntegrityError: it had to be read, and is damaged.
        """
        path = self.pack_file(pack)
        known = read_sidecar(self._root, pack)
        if known is not None:
            return known[0]
        hashes = hash_pack(path, pack)
        if self._parts is not None:
            write_sidecar(self._root, hashes, own=True)
        return hashes

    def pack_file(self, pack: PackId) -> Path:
        """Return the file of a sealed pack.

        Raises:
            NotFound: not here.
        """
        path = pack_in(self._root, pack)
        if not path.is_file():
            raise NotFound(f"the store `{self._root}` has no pack `{pack}`")
        return path

    def packs(self) -> list[PackId]:
        """Return the sealed packs, sorted."""
        with self._lock:
            return list(self._index.packs())

    def adopt_pack(self, path: Path, pack: PackId) -> None:
        """Move a pack that came from elsewhere in, from the same filesystem, and index it.

        What it says about hubs is not believed: it brings objects, no known files and no captures. What it says about
        objects is checked, every one: an object that the index wrongly calls here would never be stored again.

        Raises:
            IntegrityError: its bytes are not those that `pack` names, or are no pack, or it names an object that it
                does not hold; nothing was moved.
            UnsupportedFormat: it holds what this version cannot read; nothing was moved.
        """
        hashes = hash_pack(path, pack)
        with open_pack(path) as reader:
            entries = list(reader.footer())
            if [found.entry for found in reader.scan()] != entries:
                raise IntegrityError(f"the footer of the pack `{pack}` does not list the records that it holds")
            for entry in entries:
                reader.object(entry)
        target = pack_in(self._root, pack)
        with self._writing():
            if pack not in self._index.packs():
                write_sidecar(self._root, hashes, own=False)
            ensure_dir(target.parent)
            publish_file(path, target)
            healing.add_pack(self._index, hashes, entries)
        self.commit()

    def rebuild_index(self) -> None:
        """Make the index again by a forward scan of all packs."""
        with self._writing() as parts:
            for part in parts.values():
                part.sync()
            healing.rebuild(self._root, self._index, parts.values())

    def _find(self, identifier: ObjectId) -> Found:
        with self._lock:
            found = self._index.find(identifier)
        if found is None:
            raise NotFound(f"the store `{self._root}` has no object `{identifier}`")
        return found

    def _path_of(self, found: Found) -> Path:
        if found.pack is not None:
            return pack_in(self._root, found.pack)
        return self._root / "open" / str(found.part)

    def _read(self, found: Found) -> bytes:
        with open_pack(self._path_of(found)) as reader:
            return reader.object(found.entry)

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="encode")
            return self._pool

    def _encode(self, data: bytes | memoryview, dtype: str | None, rights: Rights) -> intake.Coded:
        identifier = object_id(data)
        size = memoryview(data).nbytes
        if self._is_here(identifier, rights):
            return intake.Coded(identifier, size, 0, None)
        codec, payload = codecs.encode(data, dtype)
        return intake.Coded(identifier, size, codec, payload)

    def _append(self, coded: intake.Coded, kind: ObjectKind, pack_class: PackClass) -> None:
        if coded.payload is None:
            return
        with self._writing() as parts:
            if self._is_here(coded.id, pack_class.rights):
                return
            part = parts.get(pack_class)
            if part is not None and not part.has_room(len(coded.payload)):
                self._seal([pack_class])
                part = None
            if part is None:
                part = parts[pack_class] = new_part(healing.part_in(self._root, pack_class), pack_class)
            entry = part.append(coded.id, coded.codec, coded.payload, coded.size, kind)
            row = self._index.row_of_part(part.path.name, pack_class.rights)
            self._index.add_objects(row, [entry])

    def _is_here(self, identifier: ObjectId, rights: Rights) -> bool:
        with self._lock:
            found = self._index.find(identifier)
        return found is not None and RIGHTS.index(found.rights) <= RIGHTS.index(rights)

    def _seal(self, classes: list[PackClass]) -> list[PackId]:
        """Seal parts: bytes, then hashes, then the name, then the index. A crash in between is healed at next open."""
        parts = self._parts or {}
        sealed: list[PackId] = []
        for pack_class in classes:
            part = parts[pack_class]
            hashes = part.finish(self._info)
            write_sidecar(self._root, hashes, own=True)
            target = pack_in(self._root, hashes.pack)
            ensure_dir(target.parent)
            publish_file(part.path, target)
            sync_dir(part.path.parent)
            del parts[pack_class]
            self._index.seal_part(part.path.name, hashes.pack, hashes.size)
            sealed.append(hashes.pack)
        for part in parts.values():
            part.sync()
        self._index.commit()
        return sealed

    @contextmanager
    def _writing(self) -> Iterator[dict[PackClass, Part]]:
        """Hold the lock and give the open parts.

        A full disk leaves the parts as they were; after any other failure nothing is written until the store is opened
        again, which rechecks them.
        """
        with self._lock:
            if self._parts is None:
                raise StoreError(f"the store `{self._root}` is open for reading alone")
            if self._broken:
                raise StoreError(f"the store `{self._root}` failed to write before", hint="run the same command again")
            try:
                yield self._parts
            except BaseException as error:
                undone = isinstance(error, NoSpace) and isinstance(error.__cause__, OSError)
                self._broken = not undone or any(part.closed for part in self._parts.values())
                raise
