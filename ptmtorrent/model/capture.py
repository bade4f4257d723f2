"""The capture record: what was known of a snapshot at the moment it was captured, beyond the bytes.

Popularity and the like change, so they are not in the manifest; this record goes into the tables of the release. It is
an object in a meta pack too, so that packs alone are enough to rebuild everything.
"""

from typing import ClassVar, Literal

from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, SnapshotId, is_hex64

Rights = Literal["open", "restricted", "gated"]
"""May the bytes be passed on? Packs and volumes of different rights never mix."""


class Capture(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One capture of one package. Counts that the hub did not give are None, never 0."""

    FORMAT: ClassVar[str] = "ptmtorrent/capture"

    package: PackageName
    snapshot: SnapshotId
    captured: str
    listed: str
    rights: Rights
    licence: str | None = None
    downloads: int | None = None
    likes: int | None = None
    task: str | None = None
    library: str | None = None
    tags: tuple[str, ...] = ()
    modified: str | None = None

    def __post_init__(self) -> None:
        """Refuse a snapshot that is no hash: the decoder of documents calls that a capture of another shape."""
        if not is_hex64(self.snapshot):
            raise ValueError("`snapshot` is not 64 lowercase hex digits")
