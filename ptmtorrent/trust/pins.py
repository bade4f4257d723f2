"""The trusted channels: for each location, the fingerprint of the pinned root.

::

    trust/pins.json              {"format":"ptmtorrent/pins","pins":{"https://models.example.org/ptm":"b3:…"},…}
    trust/<64 hex>/1.root.json   the root itself, which need not be downloaded to open the channel

Nothing is trusted on first use: a fingerprint comes from another source, such as a paper or a README
(docs/adr/0003-pins-not-first-use.md).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from ptmtorrent.channel.paths import FIRST_ROOT_NAME
from ptmtorrent.disk.durable import disk_errors_but_missing, read_regular, write_file
from ptmtorrent.errors import IntegrityError, NotFound, StoreError, TrustError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.model.locations import Location, as_location
from ptmtorrent.scrub import scrub
from ptmtorrent.trust.fingerprints import fingerprint, folder_of, parse_fingerprint
from ptmtorrent.trust.memory import exclusive


class PinFile(canonical.Document, frozen=True, kw_only=True):
    """`pins.json`: canonical spelling of a location to fingerprint."""

    FORMAT: ClassVar[str] = "ptmtorrent/pins"

    pins: dict[str, str]


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One trusted channel."""

    location: str
    fingerprint: str


class Pins:
    """The pins in `folder`. Every call reads the file, because another process may have added one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, location: Location | str, fingerprint: str, root: bytes) -> Pin:
        """Trust the channel at `location` whose first root is `root`; earlier pins of the same place are replaced.

        Raises:
            UsageError: `fingerprint` or the location is malformed.
            TrustError: `root` has another fingerprint.
            StoreError: the folder cannot be written.
        """
        place = as_location(location)
        pin = Pin(location=place.location, fingerprint=parse_fingerprint(fingerprint))
        _check_root(root, pin)
        with exclusive(self._folder):
            kept = {name: found for name, found in self._read().items() if _identity(name) != place.identity}
            pins = {**kept, pin.location: pin.fingerprint}
            write_file(self._root_path(pin.fingerprint), root)
            document = PinFile(format=PinFile.FORMAT, version=PinFile.VERSION, requires=(), pins=pins)
            write_file(self._path, canonical.encode(document))
        return pin

    def remove(self, location: Location | str) -> Pin:
        """Trust the channel at `location` no longer; return its pin. What was seen of the channel is kept.

        So a rollback is still detected if it is trusted again.

        Raises:
            UsageError: the location is malformed.
            NotFound: it is not trusted.
            StoreError: the folder cannot be written.
        """
        place = as_location(location)
        with exclusive(self._folder):
            pins = self._read()
            gone = [name for name in pins if _identity(name) == place.identity]
            if not gone:
                raise NotFound(f"the channel `{place}` is not trusted", hint="see which are: ptmtorrent trust show")
            kept = {name: found for name, found in pins.items() if name not in gone}
            document = PinFile(format=PinFile.FORMAT, version=PinFile.VERSION, requires=(), pins=kept)
            write_file(self._path, canonical.encode(document))
        return Pin(location=gone[0], fingerprint=pins[gone[0]])

    def find(self, location: Location | str) -> bytes | None:
        """Return the root pinned for `location` in any of its spellings, None when there is no pin.

        Raises:
            StoreError: the stored root is damaged.
        """
        place = as_location(location)
        location = place.location
        pins = {_identity(name): found for name, found in self._read().items()}
        found = pins.get(place.identity)
        if found is None:
            return None
        path = self._root_path(found)
        try:
            with disk_errors_but_missing(path):
                root = read_regular(path)
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
                data = read_regular(self._path)
            pins = canonical.decode(data, PinFile, name=str(self._path)).pins
            return dict(_spelled_anew(pins))
        except FileNotFoundError:
            return {}
        except IntegrityError as error:
            raise StoreError(
                f"`{self._path}` is damaged", hint="remove it, and add the channels you trust again"
            ) from error


def _spelled_anew(pins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield pins by canonical spelling: earlier versions wrote others, logins included.

    A place with two fingerprints is not trusted, unless one of them has the canonical spelling.
    """
    names = {name: _canonical(name) for name in pins}
    for name, found in pins.items():
        others = {pins[other] for other, spelled in names.items() if spelled == names[name]}
        if name == names[name] or (names[name] not in pins and others == {found}):
            yield names[name], found


def _canonical(name: str) -> str:
    try:
        return as_location(name).location
    except UsageError:  # a location that an earlier version took for a folder
        return scrub(name)


def _identity(name: str) -> str:
    try:
        return as_location(name).identity
    except UsageError:
        return name


def _check_root(root: bytes, pin: Pin) -> None:
    if fingerprint(root) != pin.fingerprint:
        raise TrustError(
            f"channel `{pin.location}` has the fingerprint `{fingerprint(root)}`, not `{pin.fingerprint}`",
            hint="ask the maintainer for the right one; do not trust the channel until then",
        )
