"""`version.json`: which version of the store's layout a folder has.

::

    {"format":"ptmtorrent/store","requires":[],"version":1}
"""

from pathlib import Path
from typing import ClassVar

from ptmtorrent.disk.durable import disk_errors, write_file
from ptmtorrent.errors import IntegrityError, NotFound, StoreError
from ptmtorrent.model import canonical

VERSION_NAME = "version.json"


class StoreVersion(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The layout of a store, as `ptmtorrent.store.store` draws it."""

    FORMAT: ClassVar[str] = "ptmtorrent/store"


def stamp_version(root: Path) -> None:
    """Say that the folder `root` is a store of this version, unless it says what it is already."""
    path = root / VERSION_NAME
    if not path.exists():
        version = StoreVersion(format=StoreVersion.FORMAT, version=StoreVersion.VERSION, requires=())
        write_file(path, canonical.encode(version))


def check_version(root: Path) -> None:
    """Refuse a store of another version.

    Raises:
        NotFound: there is no store.
        StoreError: its version cannot be read.
        UnsupportedFormat: a newer version wrote it.
    """
    path = root / VERSION_NAME
    again = f"if no newer ptmtorrent wrote the store, {{}}have `{VERSION_NAME}` made again: ptmtorrent store init"
    if not path.is_file():
        if (root / "packs").is_dir() or (root / "index.sqlite").exists():
            raise StoreError(f"the store `{root}` has lost its `{VERSION_NAME}`", hint=again.format(""))
        raise NotFound(f"there is no store at `{root}`", hint="`ptmtorrent clone` or `ptmtorrent fetch` makes one")
    with disk_errors(path):
        data = path.read_bytes()
    try:
        canonical.decode(data, StoreVersion, name=str(path))
    except IntegrityError as error:
        raise StoreError(f"{error.message}: it is damaged", hint=again.format(f"remove `{path}`, then ")) from error
