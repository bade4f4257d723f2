"""What trust needs of a channel's reader. `transports.port.ChannelReader` has this shape; imports go downwards only."""

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
            IntegrityError: longer than `limit` bytes.
            TransportError: the source could not be read.
        """
        ...
