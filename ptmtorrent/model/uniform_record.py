"""The uniform record: the same fields for packages of every hub, each with its source (docs/formats/record.md)."""

from typing import ClassVar, TypeAlias

import msgspec

from ptmtorrent.model import canonical


class Text(msgspec.Struct, frozen=True):
    """A text and its source: `<answer>#<JSON pointer>`, `files/<path>`, `package`, `identity` or `hub`."""

    value: str
    source: str


class Texts(msgspec.Struct, frozen=True):
    """Texts in the hub's order, and their source."""

    value: tuple[str, ...]
    source: str


class Count(msgspec.Struct, frozen=True):
    """A number of downloads or likes, and its source."""

    value: int
    source: str


Facts: TypeAlias = dict[str, Text | Texts | Count]
"""What a hub states about a package, by field of the uniform record."""


class UniformRecord(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The facts that a hub gives about a package. A value it did not give is None; nothing is guessed.

    `owner` is the account that holds the package, `creators` the people or teams that are named as its authors.
    """

    FORMAT: ClassVar[str] = "ptmtorrent/record"
    VERSION: ClassVar[int] = 2

    package: str
    title: Text | None = None
    owner: Text | None = None
    creators: Texts | None = None
    url: Text | None = None
    owner_url: Text | None = None
    revision: Text | None = None
    task: Text | None = None
    architecture: Text | None = None
    datasets: Texts | None = None
    papers: Texts | None = None
    metrics: Texts | None = None
    licence: Text | None = None
    library: Text | None = None
    tags: Texts | None = None
    description: Text | None = None
    downloads: Count | None = None
    likes: Count | None = None
    modified: Text | None = None


_HEAD = {"format", "version", "requires", "package"}

FIELDS = tuple(name for name in UniformRecord.__struct_fields__ if name not in _HEAD)
"""The fields that have a value and a source."""
