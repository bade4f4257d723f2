"""The trusted channels: for each location, the fingerprint of the pinned root.

::

    trust/pins.json              {"format":"ptmtorrent/pins","pins":{"https://models.example.org/ptm":"b3:…"},…}
    trust/<64 hex>/1.root.json   the root itself, which need not be downloaded to open the channel

Nothing is trusted on first use: a fingerprint comes from another source, such as a paper or a README
(docs/adr/0003-pins-not-first-use.md).
"""

import os
import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import msgspec

from ptmtorrent.channel.paths import FIRST_ROOT_NAME
from ptmtorrent.disk.durable import disk_errors_but_missing, write_file
from ptmtorrent.errors import IntegrityError, StoreError, TrustError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, parse_fingerprint
from ptmtorrent.trust.memory import exclusive

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class PinFile(canonical.Document, frozen=True, kw_only=True):
    """`pins.json`: normalised location to fingerprint."""

    FORMAT: ClassVar[str] = "ptmtorrent/pins"

    pins: dict[str, str]


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One trusted channel."""

    location: str
    fingerprint: str


def normalise(location: str) -> str:
    """Return the canonical spelling of a location: an absolute path, or a URL without a trailing slash.

    `file:` URLs become paths, so that a folder has one spelling; scheme and host are lowercase.

    Raises:
        UsageError: the URL is malformed.
    """
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise UsageError(f"`{location}` is neither a URL nor a folder: {error}") from error
    if parts.scheme == "file":
        location = unquote(parts.path)
    elif _SCHEME.match(location):
        return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
    return os.path.abspath(location)  # noqa: PTH100  # resolve() would follow links


class Pins:
    """The pins in `folder`. Every call reads the file, because another process may have added one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, location: str, fingerprint: str, root: bytes) -> Pin:
        """Trust the channel at `location` whose first root is `root`; an earlier pin of the location is replaced.

        Raises:
            UsageError: `fingerprint` is malformed.
            TrustError: `root` has another fingerprint.
            StoreError: the folder cannot be written.
        """
        pin = Pin(location=normalise(location), fingerprint=parse_fingerprint(fingerprint))
        _check_root(root, pin)
        with exclusive(self._folder):
            pins = {**self._read(), pin.location: pin.fingerprint}
            write_file(self._root_path(pin.fingerprint), root)
            document = PinFile(format=PinFile.FORMAT, version=PinFile.VERSION, requires=(), pins=pins)
            write_file(self._path, canonical.encode(document))
        return pin

    def find(self, location: str) -> bytes | None:
        """Return the root pinned for `location`, None without a pin.

        Raises:
            StoreError: the stored root is damaged.
        """
        found = self._read().get(normalise(location))
        if found is None:
            return None
        path = self._root_path(found)
        try:
            with disk_errors_but_missing(path):
                root = path.read_bytes()
        except FileNotFoundError:
            root = b""
        if fingerprint(root) != found:
            raise StoreError(
                f"the stored root of channel `{location}` is damaged: `{path}`",
                hint=f"run `ptmtorrent trust add {location} --fingerprint {found}`",
            )
        return root

    def list(self) -> tuple[Pin, ...]:
        """Return all pins, by location."""
        return tuple(Pin(location=location, fingerprint=found) for location, found in sorted(self._read().items()))

    @property
    def _path(self) -> Path:
        return self._folder / "pins.json"

    def _root_path(self, fingerprint: str) -> Path:
        return self._folder / folder_of(fingerprint) / FIRST_ROOT_NAME

    def _read(self) -> dict[str, str]:
        try:
            with disk_errors_but_missing(self._path):
                data = self._path.read_bytes()
            return canonical.decode(data, PinFile, name=str(self._path)).pins
        except FileNotFoundError:
            return {}
        except IntegrityError as error:
            raise StoreError(
                f"`{self._path}` is damaged", hint="remove it, and add the channels you trust again"
            ) from error


def _check_root(root: bytes, pin: Pin) -> None:
    if fingerprint(root) != pin.fingerprint:
        raise TrustError(
            f"channel `{pin.location}` has the fingerprint `{fingerprint(root)}`, not `{pin.fingerprint}`",
            hint="ask the maintainer for the right one; do not trust the channel until then",
        )
