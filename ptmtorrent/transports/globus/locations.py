"""Locations in Globus: a channel in a collection, and the collection that exposes this machine's files.

::

    globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f/ptm/channel
    globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f@g-1a2b3.fd635.8443.data.globus.org/ptm/channel

The second also names the collection's HTTPS server. If that allows anonymous reads, neither a login nor Globus software
is needed; for the first, the server is looked up at the Transfer service, which requires a login.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

import msgspec

from ptmtorrent.errors import ConfigError, UsageError
from ptmtorrent.model.names import check_path

SCHEME = "globus:"
TOKENS = "tokens.json"
"""The token file in the home's Globus folder, readable by its owner only."""
INCOMING = ".ptm-incoming"
"""Landing folder below the root of this machine's collection; `/<job>/<path in the channel>` follows."""

STAGING = ".ptm-staging"
"""Staging folder of a release being published, below the channel in its collection."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE)
_PLACE = re.compile(rf"globus:(?P<id>{_UUID})(?:@(?P<host>[^/]*))?(?P<path>/.*)?", re.IGNORECASE)
_HERE = re.compile(rf"(?P<id>{_UUID}):(?P<folder>/.*)", re.IGNORECASE)
_HTTPS_PORT = 443
_MAX_PORT = 65_535
_EXAMPLE = "globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f/ptm/channel"


class GlobusLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A folder in a collection: `path` begins with a slash and does not end with one; `host` serves it over HTTPS."""

    collection: str
    path: str
    host: str | None = None

    @property
    def location(self) -> str:
        """The canonical spelling of this location."""
        return f"{SCHEME}{self.collection}{f'@{self.host}' if self.host else ''}{self.path}"

    @property
    def folder(self) -> str:
        """The location without the server: identifies the folder however it is read."""
        return f"{SCHEME}{self.collection}{self.path}"

    def below(self, path: str) -> str:
        """Return the path of the channel file `path` in the collection."""
        check_path(path)
        return f"{self.path}/{path}"


class LocalCollection(msgspec.Struct, frozen=True, kw_only=True):
    """The collection that exposes this machine's files: its `/` is the local folder `folder`."""

    collection: str
    folder: Path

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


def is_globus(location: str) -> bool:
    """Whether `location` is in a Globus collection."""
    return location.lower().startswith(SCHEME)


def parse_location(location: str) -> GlobusLocation:
    """Parse `globus:COLLECTION[@HOST]/path`.

    Raises:
        UsageError: the text has another form, or its path is not plain.
    """
    match = _PLACE.fullmatch(location)
    if match is None:
        raise UsageError(f"`{location}` is not a location in a Globus collection", hint=f"write it like `{_EXAMPLE}`")
    path = (match["path"] or "").rstrip("/")
    if any(part in {"", ".", ".."} for part in path.split("/")[1:]) or not path.isprintable():
        raise UsageError(
            f"the path in `{location}` contains `.`, `..`, an empty part or an unprintable character",
            hint=f"write it like `{_EXAMPLE}`",
        )
    host = None if match["host"] is None else read_host(match["host"])
    if host is None and match["host"] is not None:
        raise UsageError(f"`{match['host']}` in `{location}` is not a server name", hint=f"write it like `{_EXAMPLE}`")
    return GlobusLocation(collection=match["id"].lower(), path=path, host=host)


def read_host(text: str) -> str | None:
    """Return the canonical spelling of `HOST` or `HOST:PORT`; None for anything else.

    Source: RFC 1123 section 2.1, RFC 3986 section 6.2.3 (the default port is omitted).
    """
    match = _HOST.fullmatch(text)
    port = int(match["port"] or _HTTPS_PORT) if match else 0
    if match is None or not 0 < port <= _MAX_PORT:
        return None
    name = match["name"].lower()
    return name if port == _HTTPS_PORT else f"{name}:{port}"


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
