"""What of a part is committed: its length, the number of its objects, and the hashes of its pieces.

::

    | 4 MiB | 4 MiB | ... | 4 MiB | rest |   one BLAKE3 each; without a rest none for it

Opening a store trusts committed bytes whose hashes are recorded: the rest, which is shorter than 4 MiB, is hashed then,
and the whole pieces when the part is first continued.
"""

import msgspec
from blake3 import blake3

PIECE_BYTES = 4 << 20
HASH_BYTES = 32


class PartState(msgspec.Struct, frozen=True, kw_only=True):
    """The committed state of a part; `hashes` are those of its whole pieces and of the rest, in order."""

    length: int
    objects: int
    hashes: bytes

    @property
    def rest_at(self) -> int:
        """Where the rest begins."""
        return self.length - self.length % PIECE_BYTES

    @property
    def is_possible(self) -> bool:
        """Whether there are as many hashes as the length needs."""
        return self.length > 0 and self.objects >= 0 and len(self.hashes) == -(-self.length // PIECE_BYTES) * HASH_BYTES


class PieceHasher:
    """Hashes the bytes of a part by pieces, passed in order and in any lengths."""

    def __init__(self, whole: bytes = b"") -> None:
        """Continue after whole pieces whose hashes are `whole`."""
        self._whole = bytearray(whole)
        self._rest = blake3()
        self._rest_bytes = 0

    @property
    def size(self) -> int:
        """The bytes hashed so far."""
        return len(self._whole) // HASH_BYTES * PIECE_BYTES + self._rest_bytes

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        view = memoryview(data).cast("B")
        while view:
            part = view[: PIECE_BYTES - self._rest_bytes]
            view = view[len(part) :]
            self._rest.update(part)
            self._rest_bytes += len(part)
            if self._rest_bytes == PIECE_BYTES:
                self._whole += self._rest.digest()
                self._rest, self._rest_bytes = blake3(), 0

    def hashes(self) -> bytes:
        """Return the hashes of the bytes so far."""
        return bytes(self._whole) + (self._rest.digest() if self._rest_bytes else b"")
