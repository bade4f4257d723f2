"""`captured`: the newest capture of every package in the store."""

from ptmtorrent.errors import NotFound
from ptmtorrent.model.manifest import Capture
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store


def captured(home: Home) -> list[Capture]:
    """Return the newest capture of every package, by name.

    Raises:
        NotFound: nothing was captured.
        StoreError, IntegrityError: the store cannot be read.
    """
    if home.store.is_dir():
        with Store.open(home.store, write=False) as store:
            if found := store.captures():
                return found
    raise NotFound(f"nothing has been captured in `{home.root}`", hint="capture packages first: ptmtorrent clone")
