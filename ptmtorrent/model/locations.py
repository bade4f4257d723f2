"""Locations: where a channel is, or where a release is published to. A text is parsed once, into one of three values.

::

    /srv/channel                                 a folder; also relative, `~/channel`, `file:///srv/channel`
    https://example.org/channel                  a static web server
    globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f/ptm/channel
    globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f@g-1a2b3.fd635.8443.data.globus.org/ptm/channel
    6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f:/ptm/channel   as globus-cli writes it

A text with a colon before its first slash is an address, as git reads it; a folder of such a name is `./s3:name`. The
spelling with `@` also names the HTTPS server of the collection. If that allows anonymous reads, neither a login nor
Globus software is needed; without it, the server is looked up at the Transfer service, which requires a login.
"""

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

import msgspec

from ptmtorrent.errors import UsageError
from ptmtorrent.model.ids import check_path
from ptmtorrent.scrub import Login, shown, split_login

SCHEME = "globus:"
RCLONE = "publish to a folder, and copy that with rclone (docs/guides/maintainer.md)"
"""The documented way to storage that is not written to by this program."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE)
_PLACE = re.compile(rf"globus:(?P<id>{_UUID})(?:@(?P<host>[^/]*))?(?P<path>/.*)?", re.IGNORECASE)
_CLI_PLACE = re.compile(rf"(?:globus:)?(?P<id>{_UUID}):(?P<path>/.*)?", re.IGNORECASE)
"""As globus-cli writes it."""
_HTTPS_PORT = 443
_MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": _HTTPS_PORT}
_GLOBUS_EXAMPLE = "globus:6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f/ptm/channel"
_KINDS = "a folder, or a `file:`, `http:`, `https:` or `globus:` location"
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_SAFE = "%/:@!$&'()*+,;="
_UNFIT_IN_HOST = re.compile(r"[\s\\%<>\"`{}|^]")


class FolderLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A local folder, as an absolute path without `..`; links are not resolved."""

    path: Path

    @property
    def location(self) -> str:
        """The canonical spelling of this location: its path, or a `file:` URL if that is not UTF-8."""
        return spell_place(str(self.path))

    @property
    def identity(self) -> str:
        """What is equal for all spellings of the same channel."""
        return self.location

    def __str__(self) -> str:
        return self.location


class WebLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A channel on a web server: its URL in canonical spelling (RFC 3986 section 6.2) without a slash at its end.

    `login` is sent to that server only, and is part of neither the spelling nor the identity.
    """

    url: str
    login: Login | None = None

    @property
    def location(self) -> str:
        """The canonical spelling of this location."""
        return self.url

    @property
    def identity(self) -> str:
        """What is equal for all spellings of the same channel."""
        return self.url

    def __str__(self) -> str:
        return self.url


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

    @property
    def identity(self) -> str:
        """What is equal for all spellings of the same channel."""
        return self.folder

    def below(self, path: str) -> str:
        """Return the path of the channel file `path` in the collection."""
        check_path(path)
        return f"{self.path}/{path}"

    def __str__(self) -> str:
        return self.location


Location = FolderLocation | WebLocation | GlobusLocation


def spell_place(text: str) -> str:
    """Return a path as text that is UTF-8 and can be typed: a path with other bytes becomes a `file:` URL."""
    return text if text.isascii() or _is_unicode(text) else f"file://{quote(os.fsencode(text))}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_location(text: str, base: Path | None = None) -> Location:
    """Parse a location; a relative folder starts at `base` (None: the current folder).

    Raises:
        UsageError: it is empty or malformed, or has a scheme that is not supported.
    """
    head, colon, _ = text.partition(":")
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not a location", hint=f"name {_KINDS}")
    if not colon or "/" in head:
        return FolderLocation(path=_absolute(text, base))
    if _CLI_PLACE.fullmatch(text):
        return parse_globus(text)
    match head.lower():
        case "file":
            return FolderLocation(path=_path_of_url(text))
        case "http" | "https":
            return _parse_web(text)
        case "globus":
            return parse_globus(text)
    raise _unsupported(text, head)


def parse_folder(text: str, option: str, base: Path | None = None) -> Path:
    """Parse a location that must be a local folder, such as the value of `option`; a relative one stays relative.

    Raises:
        UsageError: it is another location, or as `parse_location`.
    """
    place = parse_location(text, base)
    if not isinstance(place, FolderLocation):
        raise UsageError(f"`{option}` is a local folder; it cannot be `{place}`", hint="name a local folder")
    return place.path if base or text.lower().startswith("file:") else Path(_expand(text))


def parse_destination(text: str, base: Path | None = None) -> FolderLocation | GlobusLocation:
    """Parse a location that a release is published to.

    Raises:
        UsageError: it is on a web server, or as `parse_location`.
    """
    place = parse_location(text, base)
    if isinstance(place, WebLocation):
        raise UsageError(
            f"`{place}` cannot be published to: a web server is only read", hint=f"publish to its folder; or {RCLONE}"
        )
    return place


def as_location(place: Location | Path | str) -> Location:
    """Return a location as it is, or parse it.

    Raises:
        UsageError: as `parse_location`.
    """
    if isinstance(place, Path):
        return FolderLocation(path=_absolute(f"./{place}" if not place.is_absolute() else str(place), None))
    return parse_location(place) if isinstance(place, str) else place


def parse_globus(text: str) -> GlobusLocation:
    """Parse `globus:COLLECTION[@HOST]/path`, or `COLLECTION:/path` as globus-cli writes it.

    Raises:
        UsageError: the text has another form, or its path is not plain.
    """
    as_cli = _CLI_PLACE.fullmatch(text)
    match = _PLACE.fullmatch(f"{SCHEME}{as_cli['id']}{as_cli['path'] or ''}" if as_cli else text)
    hint = f"write it like `{_GLOBUS_EXAMPLE}`"
    if match is None or "@" in (match["host"] or ""):
        raise UsageError(f"`{shown(text)}` is not a location in a Globus collection", hint=hint)
    path = (match["path"] or "").rstrip("/")
    if any(part in {"", ".", ".."} for part in path.split("/")[1:]) or not path.isprintable():
        raise UsageError(
            f"the path in `{text}` contains `.`, `..`, an empty part or an unprintable character", hint=hint
        )
    host = None if match["host"] is None else read_host(match["host"])
    if host is None and match["host"] is not None:
        raise UsageError(f"`{match['host']}` in `{text}` is not a server name", hint=hint)
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


def _expand(text: str) -> str:
    expanded = os.path.expanduser(text)  # noqa: PTH111  # Path.expanduser fails where there is no such user
    if expanded.startswith("~"):
        raise UsageError(
            f"`{text}` names the home of a user that does not exist", hint=f"a folder of that name is `./{text}`"
        )
    return expanded


def _absolute(text: str, base: Path | None) -> Path:
    joined = os.path.join(base or "", _expand(text))  # noqa: PTH118  # keeps `..` for the next line
    return Path(f"/{os.path.abspath(joined).lstrip('/')}")  # noqa: PTH100  # resolve() would follow links


def _path_of_url(text: str) -> Path:
    """Return the path of a `file:` URL (RFC 8089)."""
    unfit = UsageError(
        f"`{shown(text)}` is not the URL of a local folder", hint="write it like `file:///srv/channel`; `%3F` is `?`"
    )
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise unfit from error
    path = os.fsdecode(unquote_to_bytes(parts.path))
    fits = parts.netloc.lower() in {"", "localhost"} and path.startswith("/") and "\0" not in path
    if not fits or parts.query or parts.fragment:
        raise unfit
    return _absolute(path, None)


def _parse_web(text: str) -> WebLocation:
    address, login = split_login(text)
    unfit = UsageError(
        f"`{shown(text)}` is not the URL of a channel", hint="write it like `https://example.org/channel`"
    )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise unfit from error
    if not address.isprintable() or not host or _UNFIT_IN_HOST.search(parts.netloc) or "@" in parts.netloc:
        raise unfit
    if "?" in address or "#" in address:
        raise UsageError(
            f"`{address}` has a query or fragment (`?`, `#`), which the URL of a channel cannot have",
            hint="end it with the channel's path",
        )
    return WebLocation(url=_spell_url(parts, host, port), login=login)


def _spell_url(parts: SplitResult, host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    given = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    kept: list[str] = []
    for part in _ESCAPE.sub(_spell_escape, parts.path).split("/")[1:]:
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    return f"{parts.scheme}://{name}{given}/{quote('/'.join(kept), safe=_SAFE)}".rstrip("/")


def _spell_escape(found: re.Match[str]) -> str:
    """Decode what needs no escape, and write other escapes in capitals; a lone `%` is escaped itself."""
    if found[1] is None:
        return "%25"
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def _unsupported(text: str, head: str) -> UsageError:
    text = shown(text)
    folder = f"a folder of that name is `./{text}`"
    if len(head) == 1:
        drive = f"in WSL that drive is `/mnt/{head.lower()}`; {folder}"
        return UsageError(f"`{text}` is a Windows path, which this system does not support", hint=drive)
    return UsageError(
        f"`{text}` cannot be read or written: `{head}:` is not supported", hint=f"name {_KINDS}; or {RCLONE}; {folder}"
    )
