"""The cutter of last resort: 16 MiB slices of any file."""

from ptmtorrent.store.cutters.port import ByteSource, Piece, slices


class Opaque:
    """Accepts every file. An empty file has no pieces."""

    name = "opaque/1"

    def recognises(self, source: ByteSource, name: str) -> bool:  # noqa: ARG002  # the port's signature
        """Return True."""
        return True

    def cut(self, source: ByteSource) -> tuple[Piece, ...]:
        """Return slices at multiples of 16 MiB."""
        return tuple(slices(0, source.size))
