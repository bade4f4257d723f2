"""The port of a channel: reads its static files.

Adapters raise only errors of this project and never retry.
"""

from typing import Protocol


class ChannelReader(Protocol):
    """Reads the files of a channel by their path below its root."""

    @property
    def location(self) -> str:
        """The location of the channel, as the user gave it."""
        ...

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file.

        Raises:
            NotFound: the channel has no such file.
            IntegrityError: the file is longer than `limit` bytes; the rest was not read.
            TransportError: the source could not be read.
        """
        ...

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes of the file from byte `offset` on; further bytes are not kept.

        Raises:
            NotFound: the channel has no such file.
            IntegrityError: the file is too short.
            TransportError: the source could not be read.
        """
        ...
