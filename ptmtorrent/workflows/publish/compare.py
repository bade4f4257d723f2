"""Is what a collection shows under a name what our own channel has under it? A size says too little."""

import os
import random
from pathlib import Path

from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, open_regular
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.reading.collection import Collection

SAMPLE_BYTES = 64 << 10


class Comparison:
    """Compares published files with those in `source` over HTTPS: small ones whole, longer ones by start and sample.

    A pack may end in megabytes of zeros, so that a sample alone could see nothing else. `seed` decides where it lies.
    """

    def __init__(self, source: Path, collection: Collection, emit: Emit, *, seed: str) -> None:
        self._source = source
        self._collection = collection
        self._emit = emit
        self._random = random.Random(seed)  # noqa: S311  # which bytes to read, not a secret
        self._reader: ChannelReader | None = None
        self._refused = False

    def same(self, path: str, size: int) -> bool:
        """Are the bytes read of the published `path` ours? They are not where nothing can be read.

        Raises:
            AuthError, TransportError: it could not be read now.
            StoreError: ours cannot be read.
        """
        starts = [0] if size <= SAMPLE_BYTES else [0, self._random.randrange(size - SAMPLE_BYTES + 1)]
        reader = self._open()
        try:
            return reader is not None and all(self._same_at(reader, path, start, size) for start in starts)
        except (NotFound, IntegrityError):
            return False

    def _same_at(self, reader: ChannelReader, path: str, start: int, size: int) -> bool:
        length = min(SAMPLE_BYTES, size - start)
        with disk_errors(self._source / path), os.fdopen(open_regular(self._source / path), "rb") as file:
            file.seek(start)
            ours = file.read(length)
        return reader.read_range(path, start, length) == ours

    def _open(self) -> ChannelReader | None:
        if self._reader is None and not self._refused:
            try:
                self._reader = self._collection.reader()
            except NotFound as error:
                self._refused = True
                self._emit(Note(message=f"what is there cannot be compared: {error.message}", warning=True))
        return self._reader
