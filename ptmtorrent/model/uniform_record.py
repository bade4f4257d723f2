"""The uniform record: the same fields for packages of every hub, each with its source (docs/formats/record.md)."""

from typing import ClassVar

import msgspec

from ptmtorrent.model import canonical


class Text(msgspec.Struct, frozen=True):
    """A text and its source: `<answer>#<JSON pointer>`, `package`, `identity` or `hub`."""

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


class UniformRecord(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The facts that a hub gives about a package. A value it did not give is None; nothing is guessed."""

    FORMAT: ClassVar[str] = "ptmtorrent/record"

    package: str
    name: Text
    owner: Text | None = None
    url: Text | None = None
    owner_url: Text | None = None
    revision: Text | None = None
    task: Text | None = None
    architecture: Text | None = None
    datasets: Texts | None = None
    papers: Texts | None = None
    licence: Text | None = None
    libraries: Texts | None = None
    tags: Texts | None = None
    description: Text | None = None
    downloads: Count | None = None
    likes: Count | None = None
    modified: Text | None = None
