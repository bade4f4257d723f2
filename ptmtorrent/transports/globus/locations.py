"""What Globus needs besides a location: its settings, the collection that exposes this machine's files, and folders."""

import os
import re
from pathlib import Path
from urllib.parse import quote

import msgspec

from ptmtorrent.errors import ConfigError
from ptmtorrent.model.locations import GlobusLocation

TOKENS = "tokens.json"
"""The token file in the home's Globus folder, readable by its owner only."""
INCOMING = ".ptm-incoming"
"""Landing folder below the root of this machine's collection; `/<job>/<path in the channel>` follows."""

STAGING = ".ptm-staging"
"""Staging folder of a release being published, below the channel in its collection."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HERE = re.compile(rf"(?P<id>{_UUID}):(?P<folder>/.*)", re.IGNORECASE)


class LocalCollection(msgspec.Struct, frozen=True, kw_only=True):
    """The collection that exposes this machine's files: its `/` is the local folder `folder`."""

    collection: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.collection}:{self.folder}"

    def path_of(self, local: Path) -> str:
        """Return the path of a local file or folder in the collection.

        Raises:
            ConfigError: the path is outside the collection's folder.
        """
        place = Path(os.path.abspath(local))  # noqa: PTH100  # does not resolve links
        if not place.is_relative_to(self.folder):
            raise ConfigError(
                f"`{place}` is not below `{self.folder}`, so your collection `{self.collection}` does not show it",
                hint="move the home below that folder, or set `globus_here` to a collection that shows it",
            )
        return f"/{place.relative_to(self.folder).as_posix()}"


class GlobusAccess(msgspec.Struct, frozen=True, kw_only=True):
    """The settings for Globus. `folder` holds tokens and jobs; `patience` is in seconds."""

    folder: Path
    client_id: str | None
    client_secret: str | None
    here: LocalCollection | None
    patience: int

    def __repr__(self) -> str:
        return f"GlobusAccess(folder={str(self.folder)!r}, client_id={self.client_id!r})"


def parse_local_collection(text: str) -> LocalCollection:
    """Parse `COLLECTION:/folder`.

    Raises:
        ConfigError: the text has another form.
    """
    match = _HERE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"`{text}` is not of the form `COLLECTION:/folder`",
            hint="set `globus_here` to `COLLECTION:/folder`, where that folder is the collection's `/`",
        )
    folder = Path(os.path.normpath(match["folder"]))
    return LocalCollection(collection=match["id"].lower(), folder=folder)


def https_url(place: GlobusLocation, host: str) -> str:
    """Return the URL of the channel at `place` on the collection's HTTPS server `host`."""
    return f"https://{host}{quote(place.path)}"
