"""What was put into a store and is not durable yet: known to this process alone until it is committed.

Keeping it out of the index until then is what lets several processes write: a transaction lasts as long as it takes to
write the rows, not as long as it takes to make them.
"""

from collections.abc import Iterable
from itertools import islice

from ptmtorrent.model import canonical
from ptmtorrent.model.capture import Capture
from ptmtorrent.model.ids import ObjectId, PackageName
from ptmtorrent.store.index import Found, Index
from ptmtorrent.store.ingest.files import StoredFile
from ptmtorrent.store.pack.format import Entry

Kept = tuple[ObjectId, Capture, bytes]
"""A capture: its id, what it says, its bytes."""


class Pending:
    """Rows for the index, in the order they came."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.objects: dict[ObjectId, Found] = {}
        self._files: dict[str, StoredFile] = {}
        self._captures: list[Kept] = []
        self._sketches: dict[int, list[ObjectId]] = {}

    def add_object(self, found: Found, keys: tuple[int, ...]) -> None:
        """Take an object in, and the keys of its sketch."""
        self.objects[found.entry.id] = found
        for key in keys:
            self._sketches.setdefault(key, []).append(found.entry.id)

    def add_file(self, file: StoredFile) -> None:
        """Take a whole file in."""
        self._files[f"blake3:{file.blake3}"] = file
        self._files[f"sha256:{file.sha256}"] = file
        if file.git_sha1 is not None:
            self._files[f"git:{file.git_sha1}"] = file

    def add_capture(self, kept: Kept) -> None:
        """Take a capture in."""
        self._captures.append(kept)

    def file(self, oid: str) -> StoredFile | None:
        """Return the file of that name, if it is here."""
        return self._files.get(oid)

    def similar_objects(self, keys: Iterable[int], most: int) -> list[ObjectId]:
        """Return up to `most` objects that share a key, the newest of each key; however many there are, as fast."""
        found = [identifier for key in keys for identifier in self._sketches.get(key, ())[: -most - 1 : -1]]
        return list(islice(dict.fromkeys(found), most))

    def newest(self, captures: Iterable[bytes]) -> list[Capture]:
        """Return the newest capture of each package, of those in the index and of these; sorted by package."""
        newest: dict[PackageName, Capture] = {}
        decoded = (canonical.decode(data, Capture, name="a capture") for data in captures)
        for capture in (*decoded, *(capture for _, capture, _ in self._captures)):
            before = newest.get(capture.package)
            if before is None or capture.captured >= before.captured:
                newest[capture.package] = capture
        return [newest[package] for package in sorted(newest)]

    def write(self, index: Index) -> None:
        """Write everything into the index, durably, in one transaction; what it says must be durable before."""
        if not (self.objects or self._files or self._captures):
            return
        with index.transaction():
            by_part: dict[str, list[Entry]] = {}
            rights = {str(found.part): found.rights for found in self.objects.values()}
            for found in self.objects.values():
                by_part.setdefault(str(found.part), []).append(found.entry)
            for part, entries in by_part.items():
                index.add_objects(index.row_of_part(part, rights[part]), entries)
            for file in {file.blake3: file for file in self._files.values()}.values():
                index.add_file(file)
            for key, identifiers in self._sketches.items():
                index.add_sketches(key, identifiers)
            for kept in self._captures:
                index.add_capture(*kept)
        self.clear()
