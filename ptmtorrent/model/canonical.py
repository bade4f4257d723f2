"""Canonical JSON: every value has exactly one encoding, so a hash of the bytes is a hash of the value.

UTF-8, keys sorted by their bytes, integers only, no white space, no duplicate keys; any other encoding is refused::

    {"format":"ptmtorrent/manifest","requires":[],"version":1}

Every document states its format, version and `requires`, the features that a reader must know (docs/formats/README.md).
"""

from typing import Any, ClassVar, NoReturn, TypeVar

import msgspec

from ptmtorrent.errors import IntegrityError, UnsupportedFormat
from ptmtorrent.model.bounds import SAFE_BYTES, TooManyParts, check_json
from ptmtorrent.model.text import spell_size

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
    if len(data) > MAX_DOCUMENT_BYTES:
        raise IntegrityError(f"`{name}` is {spell_size(len(data))}, over the limit of {spell_size(MAX_DOCUMENT_BYTES)}")
    if len(data) <= SAFE_BYTES:
        return
    try:
        check_json(data)
    except TooManyParts as error:
        raise IntegrityError(f"`{name}` is refused: {error}") from error


def decode(data: bytes, kind: type[D], *, name: str) -> D:
    """Return the document in `data`; `name` is the document as shown in errors.

    Raises:
        IntegrityError: too large, not JSON, not canonical, or not a valid document of this kind.
        UnsupportedFormat: another version, or an unknown feature in `requires`.
    """
    check_size(data, name)
    tree = _parse(data, name)
    _check_head(tree, kind, name)
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"`{name}` is not a valid {kind.FORMAT}: {error}") from error


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
