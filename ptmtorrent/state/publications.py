"""Where the releases of this home were published, as far as this home knows: `publications.json`.

A place is entered before its signed list names the release, and taken out after a signed list without it is in place.
So an interrupted run leaves a place too many, never one too few.
"""

from pathlib import Path
from typing import ClassVar

from ptmtorrent.disk.durable import disk_errors_but_missing, read_regular, write_file
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ReleaseName


class Publications(canonical.Document, frozen=True, kw_only=True):
    """`publications.json`: location to the names of the releases that it lists, sorted."""

    FORMAT: ClassVar[str] = "ptmtorrent/publications"

    places: dict[str, tuple[ReleaseName, ...]]


def read_publications(path: Path) -> dict[str, tuple[ReleaseName, ...]]:
    """Return the releases of each place; empty when nothing was published.

    Raises:
        IntegrityError: the file is damaged.
        StoreError: it cannot be read.
    """
    try:
        with disk_errors_but_missing(path):
            return canonical.decode(read_regular(path), Publications, name=str(path)).places
    except FileNotFoundError:
        return {}


def places_of(path: Path, name: ReleaseName) -> list[str]:
    """Return the places at which the release `name` is published, sorted."""
    return sorted(place for place, names in read_publications(path).items() if name in names)


def add_publication(path: Path, place: str, names: tuple[ReleaseName, ...]) -> None:
    """Record durably that `place` may list `names` besides what it lists.

    Raises:
        IntegrityError, StoreError: the file is damaged, or cannot be written.
    """
    note_publication(path, place, tuple({*read_publications(path).get(place, ()), *names}))


def note_publication(path: Path, place: str, names: tuple[ReleaseName, ...]) -> None:
    """Record durably that `place` lists exactly `names`.

    Raises:
        IntegrityError, StoreError: the file is damaged, or cannot be written.
    """
    places = read_publications(path)
    if places.get(place) == (wanted := tuple(sorted(names))):
        return
    places = {**places, place: wanted} if wanted else {key: value for key, value in places.items() if key != place}
    document = Publications(format=Publications.FORMAT, version=Publications.VERSION, requires=(), places=places)
    write_file(path, canonical.encode(document))
