"""Canonical JSON: every value has exactly one encoding, so a hash of the bytes is a hash of the value.

UTF-8, keys sorted by their bytes, integers only, no white space, no duplicate keys; any other encoding is refused::

    {"format":"ptmtorrent/manifest","requires":[],"version":1}

Every document states its format, version and `requires`, the features that a reader must know (docs/formats/README.md).

A binary document has such a head, and columns of fixed-width numbers and hashes::

    8 bytes   magic, such as PTMPLACE
    4         H, the length of the head
    H         head: canonical JSON with format, version, requires and the numbers of rows
    …         columns, one after another, without gaps; integers are unsigned and little-endian

The numbers of rows are checked against the length of the document before a column is read, so a document takes no more
memory than its bytes. Columns are views: nothing is copied.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, TypeVar

import msgspec

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.bounds import SAFE_BYTES, TooManyParts, check_json
from ptmtorrent.model.text import spell_size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OLDER_STORE = "nothing is converted: clone into a new home, with `ptmtorrent --home DIR clone HUB`"
"""The hint for files of a store that an older version wrote."""

MAX_DOCUMENT_BYTES = 16 << 20
"""Limit of a document (16 MiB); a longer one is refused before it is parsed."""


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members that every format has. Subclasses set `FORMAT`, and `FEATURES` to what they allow in `requires`.

    `OLDER` is the hint for a document of an older version, which is never converted.
    """

    FORMAT: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    FEATURES: ClassVar[frozenset[str]] = frozenset()
    OLDER: ClassVar[str] = "nothing is converted: make it again with this version"

    format: str
    version: int
    requires: tuple[str, ...]


D = TypeVar("D", bound=Document)


def encode(value: object) -> bytes:
    """Return the canonical encoding of `value`. Raises `TypeError` for a float: formats have integers only."""
    builtin = msgspec.to_builtins(value, order="sorted")
    _refuse_floats(builtin)
    return msgspec.json.encode(builtin, order="sorted")


def check_size(data: bytes, name: str) -> None:
    """Refuse a document that no reader would decode: too long, or of too many parts (`bounds`).

    Raises:
        IntegrityError: naming the document and the limit.
    """
    check_length(data, name)
    if len(data) <= SAFE_BYTES:
        return
    try:
        check_json(data)
    except TooManyParts as error:
        raise IntegrityError(f"`{name}` is refused: {error}") from error


def check_length(data: bytes, name: str) -> None:
    """Refuse a document that is too long.

    Raises:
        IntegrityError: naming the document and the limit.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise IntegrityError(f"`{name}` is {spell_size(len(data))}, over the limit of {spell_size(MAX_DOCUMENT_BYTES)}")


def decode(data: bytes, kind: type[D], *, name: str) -> D:
    """Return the document in `data`; `name` is the document as shown in errors.

    Raises:
        IntegrityError: too large, not JSON, not canonical, or not a valid document of this kind.
        UnsupportedFormat: another version, or an unknown feature in `requires`.
    """
    check_size(data, name)
    if (document := _decode_known(data, kind)) is not None:
        return document
    tree = _parse(data, name)
    _check_head(tree, kind, name)
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"`{name}` is not a valid {kind.FORMAT}: {error}") from error


def _decode_known(data: bytes, kind: type[D]) -> D | None:
    """Return the document if this version would write the same bytes for it: the usual case, and the fastest."""
    try:
        document = _decoder_of(kind).decode(data)
        if msgspec.json.encode(document, order="sorted") != data:
            return None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    known = (document.format, document.version) == (kind.FORMAT, kind.VERSION)
    return document if known and set(document.requires) <= kind.FEATURES else None


@cache
def _decoder_of(kind: type[D]) -> "msgspec.json.Decoder[D]":
    return msgspec.json.Decoder(kind)


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        tree = _DECODER.decode(data)
        canonical = msgspec.json.encode(tree, order="sorted") == data
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"`{name}` is not a JSON document: {error}") from error
    if not canonical:
        raise IntegrityError(f"`{name}` is not canonical JSON")
    if not isinstance(tree, dict):
        raise IntegrityError(f"`{name}` is not a JSON object")
    return tree


def _check_head(tree: dict[str, Any], kind: type[Document], name: str) -> None:
    if tree.get("format") != kind.FORMAT:
        raise IntegrityError(f"`{name}` has the format `{tree.get('format')}`, expected `{kind.FORMAT}`")
    requires = tree.get("requires")
    if not isinstance(requires, list) or not all(isinstance(item, str) for item in requires):
        raise IntegrityError(f"`{name}` has no list `requires`")
    unknown = sorted(set(requires) - kind.FEATURES)
    version = tree.get("version")
    if version != kind.VERSION or unknown:
        found = f"version {version}" + (f" with {', '.join(unknown)}" if unknown else "")
        older = isinstance(version, int) and 0 < version < kind.VERSION
        raise UnsupportedFormat(
            f"`{name}` is {kind.FORMAT} {found}; this program reads version {kind.VERSION}",
            hint=kind.OLDER if older else "install a newer ptmtorrent: pip install --upgrade ptmtorrent",
        )


def _refuse_float(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is not an integer")


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError(f"{value!r} has no canonical encoding; store integers")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_floats(item)


_DECODER = msgspec.json.Decoder(float_hook=_refuse_float)


MAX_HEAD_BYTES = 1 << 16
"""Limit of the JSON head of a binary document (64 KiB)."""

MAGIC_BYTES = 8
HASH_BYTES = 32

Numbers: TypeAlias = "npt.NDArray[Any]"
"""A column of unsigned integers."""

Hashes: TypeAlias = "npt.NDArray[np.void]"
"""A column of 32-byte hashes."""

U8, U16, U32, U64 = "u1", "<u2", "<u4", "<u8"
HASH = f"V{HASH_BYTES}"
"""The kinds of columns, as numpy spells them."""

_WIDTHS = {U8: 1, U16: 2, U32: 4, U64: 8, HASH: HASH_BYTES}


def encode_columns(magic: bytes, head: Document, *columns: "Numbers | Hashes | bytes") -> bytes:
    """Return a document of a head and columns; columns are written as they are."""
    text = encode(head)
    parts = [column if isinstance(column, bytes) else column.tobytes() for column in columns]
    return b"".join((magic, len(text).to_bytes(4, "little"), text, *parts))


class ColumnReader:
    """Reads the head of a document, and then its columns in order; `name` is the document as shown in errors."""

    def __init__(self, data: bytes, magic: bytes, name: str, limit: int = MAX_DOCUMENT_BYTES) -> None:
        if len(data) > limit:
            raise IntegrityError(f"`{name}` is {spell_size(len(data))}, over the limit of {spell_size(limit)}")
        if data[:MAGIC_BYTES] != magic:
            raise IntegrityError(f"`{name}` is not a {magic.decode()} document")
        self._data = data
        self._name = name
        self._at = MAGIC_BYTES

    def head(self, kind: type[D]) -> D:
        """Return the head, a document of `kind`.

        Raises:
            IntegrityError: it is malformed.
            UnsupportedFormat: another version, or an unknown feature.
        """
        size = int.from_bytes(self.take(4), "little")
        if size > MAX_HEAD_BYTES:
            raise IntegrityError(f"`{self._name}` has a head of {size} bytes")
        return decode(self.take(size), kind, name=self._name)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            IntegrityError: the document ends before.
        """
        if size < 0 or size > len(self._data) - self._at:
            raise IntegrityError(f"`{self._name}` ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def column(self, kind: str, rows: int) -> Numbers:
        """Return the next column of `rows` values, as a view.

        Raises:
            IntegrityError: the document ends before.
        """
        if not rows:
            return _empty(kind)
        import numpy as np

        size = _WIDTHS[kind] * rows
        if rows < 0 or size > len(self._data) - self._at:
            raise IntegrityError(f"`{self._name}` ends too early")
        found = np.frombuffer(self._data, kind, rows, self._at)
        self._at += size
        return found

    def finish(self) -> None:
        """Check that nothing follows the last column.

        Raises:
            IntegrityError: something does.
        """
        if self._at != len(self._data):
            raise IntegrityError(f"`{self._name}` has {len(self._data) - self._at} bytes after its last column")


@cache
def _empty(kind: str) -> Numbers:
    import numpy as np

    return np.frombuffer(b"", kind)


def hash_column(identifiers: list[str]) -> bytes:
    """Return hex hashes as the bytes of a column."""
    return bytes.fromhex("".join(identifiers))


def hex_of(hashes: Hashes, row: int) -> str:
    """Return one hash of a column as hex."""
    return bytes(hashes[row]).hex()
