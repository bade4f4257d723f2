"""`version.json`: the version of the layout of a store.

::

    {"format":"ptmtorrent/store","requires":[],"version":2}
"""

from pathlib import Path
from typing import ClassVar

from ptmtorrent.disk.durable import disk_errors, read_regular, write_file
from ptmtorrent.errors import IntegrityError, NotFound, StoreError
from ptmtorrent.model import canonical

VERSION_NAME = "version.json"


class StoreVersion(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """The version document; `ptmtorrent.store.store` describes the layout."""

    FORMAT: ClassVar[str] = "ptmtorrent/store"
    VERSION: ClassVar[int] = 2
    OLDER: ClassVar[str] = canonical.OLDER_STORE


def stamp_version(root: Path) -> None:
    """Write `version.json` with this version to the folder `root`, unless the file exists."""
    path = root / VERSION_NAME
    if not path.exists():
        version = StoreVersion(format=StoreVersion.FORMAT, version=StoreVersion.VERSION, requires=())
        write_file(path, canonical.encode(version))


def check_version(root: Path) -> None:
    """Check that the store at `root` has a version that can be read.

    Raises:
        NotFound: there is no store.
        StoreError: `version.json` is missing or damaged.
        UnsupportedFormat: another version wrote it.
    """
    path = root / VERSION_NAME
    again = (
        f"if no other version of ptmtorrent wrote the store, {{}}create `{VERSION_NAME}` again: ptmtorrent store init"
    )
    if not path.is_file():
        if (root / "packs").is_dir() or (root / "index.sqlite").exists():
            raise StoreError(f"`{VERSION_NAME}` is missing from the store `{root}`", hint=again.format(""))
        raise NotFound(
            f"there is no store at `{root}`", hint="create one with `ptmtorrent clone` or `ptmtorrent fetch`"
        )
    with disk_errors(path):
        data = read_regular(path)
    try:
        canonical.decode(data, StoreVersion, name=str(path))
    except IntegrityError as error:
        raise StoreError(
            f"{error.message}: the file is damaged", hint=again.format(f"remove `{path}`, then ")
        ) from error
