"""Canonical JSON: one value has one encoding, so a hash of the bytes is a hash of the value.

UTF-8, keys sorted by their bytes, integers only, no white space, no duplicate keys, and nothing else is read::

    {"format":"ptmtorrent/manifest","requires":[],"version":1}

Every document opens with its format, version and `requires`, the features a reader must know
(docs/formats/README.md).
"""

from typing import Any, ClassVar, NoReturn, TypeVar

import msgspec

from ptmtorrent.errors import IntegrityError, UnsupportedFormat

MAX_DOCUMENT_BYTES = 64 << 20
"""No document of ours is longer (64 MiB); what is longer is refused before it is parsed."""


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The common head of every format. Subclasses name theirs in `FORMAT`."""

    FORMAT: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    FEATURES: ClassVar[frozenset[str]] = frozenset()

    format: str
    version: int
    requires: tuple[str, ...]


D = TypeVar("D", bound=Document)


def encode(value: object) -> bytes:
    """Encode `value` canonically. Raises `TypeError` for a float: formats hold integers only."""
    builtin = msgspec.to_builtins(value, order="sorted")
    _refuse_floats(builtin)
    return msgspec.json.encode(builtin, order="sorted")


def decode(data: bytes, kind: type[D], *, name: str) -> D:
    """Decode and check one document; `name` says which in errors.

    Raises:
        IntegrityError: not JSON, not canonical, or not of this shape.
        UnsupportedFormat: another version, or a `requires` we do not know.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise IntegrityError(f"`{name}` is {len(data)} bytes, more than any document of ours")
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
        raise IntegrityError(f"`{name}` is not canonical JSON; every other encoding is refused")
    if not isinstance(tree, dict):
        raise IntegrityError(f"`{name}` is not a JSON object")
    return tree


def _check_head(tree: dict[str, Any], kind: type[Document], name: str) -> None:
    if tree.get("format") != kind.FORMAT:
        raise IntegrityError(f"`{name}` says it is `{tree.get('format')}`, expected `{kind.FORMAT}`")
    requires = tree.get("requires")
    if not isinstance(requires, list) or not all(isinstance(item, str) for item in requires):
        raise IntegrityError(f"`{name}` has no list `requires`")
    unknown = sorted(set(requires) - kind.FEATURES)
    if tree.get("version") != kind.VERSION or unknown:
        asked = f"version {tree.get('version')}" + (f" with {', '.join(unknown)}" if unknown else "")
        raise UnsupportedFormat(
            f"`{name}` is {kind.FORMAT} {asked}; this program reads version {kind.VERSION}",
            hint="install a newer ptmtorrent: pip install --upgrade ptmtorrent",
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
