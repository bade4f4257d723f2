"""The documents of wanted packages, as they came, on disk: a manifest is decoded again while its files are written."""

from array import array
from collections import OrderedDict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Lock
from types import TracebackType
from typing import Self

from ptmtorrent.catalogue.index import Described
from ptmtorrent.disk.durable import disk_errors
from ptmtorrent.errors import StoreError
from ptmtorrent.model.ids import SnapshotId
from ptmtorrent.model.manifest import Manifest, decode_manifest
from ptmtorrent.store.codecs import streams

IN_MEMORY_BYTES = 8 << 20
"""Documents of more bytes are kept in a file without a name."""

DECODED = 64
"""Manifests that are kept decoded."""


class Documents:
    """Frames in a file in the folder `staging`, by the number of their package. Used from several threads."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._file = SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(staging))  # noqa: SIM115  # closed by `__exit__`
        self._ends = array("Q", [0])
        self._sizes = array("I")
        self._of_manifest = array("I")
        self._snapshots: list[bytes] = []
        self._decoded: OrderedDict[int, Manifest] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, described: Described) -> None:
        """Keep the frame of one more package.

        Raises:
            NoSpace, StoreError: it cannot be written.
        """
        row = described.member.row
        with disk_errors(self._staging, len(described.frame)):
            self._file.write(described.frame)
        self._ends.append(self._ends[-1] + len(described.frame))
        self._sizes.append(row.manifest_size + row.placement_size)
        self._of_manifest.append(row.manifest_size)
        self._snapshots.append(bytes.fromhex(row.snapshot))

    def manifest(self, number: int) -> Manifest:
        """Return the manifest of a package.

        Raises:
            StoreError, IntegrityError: it cannot be read back.
        """
        with self._lock:
            if number not in self._decoded:
                self._decoded[number] = self._read(number)
                if len(self._decoded) > DECODED:
                    self._decoded.popitem(last=False)
            self._decoded.move_to_end(number)
            return self._decoded[number]

    def _read(self, number: int) -> Manifest:
        first, end = self._ends[number], self._ends[number + 1]
        with disk_errors(self._staging):
            self._file.seek(first)
            frame = self._file.read(end - first)
            self._file.seek(0, 2)
        if len(frame) != end - first:
            raise StoreError(f"what was kept in `{self._staging}` ends early", hint="run the same command again")
        data = streams.expand(memoryview(frame), self._sizes[number])
        return decode_manifest(data[: self._of_manifest[number]], SnapshotId(self._snapshots[number].hex()))
