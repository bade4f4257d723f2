"""The capture record: facts about a snapshot at the time of its capture, besides its files.

Popularity and similar facts change, so they are not in the manifest; this record feeds the tables of a release. It is
also stored as an object in a meta pack, so that everything can be rebuilt from packs only.
"""

from typing import ClassVar, Literal

from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName, SnapshotId, is_hex64

Rights = Literal["open", "restricted", "gated"]
"""Whether the files may be redistributed. Packs and volumes never mix packages with different rights."""


class Capture(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """One capture of one package. A count that the hub did not give is None, never 0."""

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
        """Raise `ValueError` for a malformed snapshot id; the document decoder turns it into an `IntegrityError`."""
        if not is_hex64(self.snapshot):
            raise ValueError("`snapshot` is not 64 lowercase hex digits")
