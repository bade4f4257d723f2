"""The port of a channel: reading the static files it consists of.

Adapters raise only our errors and never retry.
"""

from typing import Protocol


class ChannelReader(Protocol):
    """Reads the files of a channel by their path below its root."""

    @property
    def location(self) -> str:
        """What the user calls this channel."""
        ...

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the whole file.

        Raises:
            NotFound: no such file here.
            IntegrityError: longer than `limit` bytes; no more than that was read.
            TransportError: the source could not be read.
        """
        ...

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes of the file from byte `offset` on; never more than that is kept.

        Raises:
            NotFound: no such file here.
            IntegrityError: the file ends before.
            TransportError: the source could not be read.
        """
        ...
