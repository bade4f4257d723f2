"""What a look-up returns, made from a row of the index; a row with impossible values is refused."""

import msgspec

from ptmtorrent.model.ids import ObjectId, PackId
from ptmtorrent.model.manifest import Rights
from ptmtorrent.store.codecs import MAX_RAW_BYTES
from ptmtorrent.store.index.run import Listed
from ptmtorrent.store.pack.format import OBJECT_KINDS, Entry

MAX_CODEC = 255


class Found(msgspec.Struct, frozen=True):
    """An object and the file that holds it: a sealed `pack` of `size` bytes, or the unsealed `part` with that name."""

    entry: Entry
    rights: Rights
    pack: PackId | None
    part: str | None
    size: int


class Container(msgspec.Struct, frozen=True):
    """A pack or a part as the index lists it."""

    pack: PackId | None
    part: str | None
    size: int
    rights: int


def entry_of(listed: Listed) -> Entry:
    """Return the object of a row.

    Raises:
        LookupError: a value is impossible.
    """
    identifier, offset, stored, raw, codec, kind, base, _ = listed
    are_numbers = type(offset) is type(stored) is type(raw) is type(codec) is type(kind) is int
    if not are_numbers or offset < 0 or not 0 <= codec <= MAX_CODEC or kind < 0:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    if not 0 <= stored <= raw <= MAX_RAW_BYTES:
        raise LookupError(f"the row of `{identifier.hex()}` is invalid")
    return Entry(
        id=ObjectId(identifier.hex()),
        offset=offset,
        stored=stored,
        raw=raw,
        codec=codec,
        kind=OBJECT_KINDS[kind],
        base=None if base is None else ObjectId(base.hex()),
    )
