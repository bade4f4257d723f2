"""The signed list of withdrawn packages: found among the targets, verified, and remembered.

The list is cumulative: one that lacks a package of a list that was seen before is refused, unless the targets keys were
replaced since. A client that opens a release by its content root, without signatures, takes what it remembers and what
the channel says unverified: both can only withhold.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tuf.api.metadata import TargetFile

from ptmtorrent.channel.paths import parse_withdrawn_path
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import read_optional, write_file
from ptmtorrent.errors import IntegrityError, NotFound, PtmError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.withdrawn import (
    MAX_WITHDRAWN_BYTES,
    NOTHING_WITHDRAWN,
    Withdrawal,
    Withdrawn,
    decode_withdrawn,
)
from ptmtorrent.trust.metadata import read_listing
from ptmtorrent.trust.refresh import check_target, trust_error

SEEN_WITHDRAWN = "withdrawn.json"
"""The last list of a channel, in the folder of its state."""


def find_withdrawn(targets: Mapping[str, TargetFile]) -> tuple[int, str] | None:
    """Return number and path of the newest list of withdrawn packages among `targets`."""
    found = [(number, path) for path in targets if (number := parse_withdrawn_path(path)) is not None]
    return max(found, default=None)


def read_withdrawn(reader: ChannelReader, targets: Mapping[str, TargetFile]) -> Withdrawn:
    """Return the list of withdrawn packages that `targets` name.

    Raises:
        TrustError: the file is not the listed one.
        NotFound, TransportError, IntegrityError, UnsupportedFormat: it cannot be read.
    """
    newest = find_withdrawn(targets)
    if newest is None:
        return NOTHING_WITHDRAWN
    number, path = newest
    target = targets[path]
    if target.length > MAX_WITHDRAWN_BYTES:
        raise IntegrityError(f"`{path}` is {target.length} bytes, which exceeds the limit of such a list")
    try:
        data = reader.read(path, limit=target.length)
    except IntegrityError as error:
        raise trust_error(reader.location, error.message) from error
    check_target(target, data, reader.location)
    found = decode_withdrawn(data)
    if found.number != number:
        raise trust_error(reader.location, f"`{path}` has the number {found.number}")
    return found


def keep_withdrawn(folder: Path, found: Withdrawn, location: str, *, binds: bool) -> None:
    """Remember the list `found` durably; what was remembered before must be in it, if it still `binds`.

    Raises:
        TrustError: it lacks a package, or has a lower number.
        StoreError: it cannot be written.
    """
    before = seen_withdrawn(folder)
    if binds and (found.number < before.number or (lost := sorted(before.packages.keys() - found.packages.keys()))):
        what = f"`{lost[0]}`" if found.number >= before.number else f"list {before.number}"
        raise trust_error(location, f"it hides that {what} was withdrawn")
    if found != before:
        write_file(folder / SEEN_WITHDRAWN, canonical.encode(found))


def seen_withdrawn(folder: Path) -> Withdrawn:
    """Return the list that was last seen of a channel whose state is in `folder`; a damaged one counts as none.

    Raises:
        StoreError: it cannot be read.
    """
    data = read_optional(folder / SEEN_WITHDRAWN)
    if data is not None:
        with suppress(PtmError):
            return decode_withdrawn(data)
    return NOTHING_WITHDRAWN


def withdrawn_unverified(reader: ChannelReader) -> dict[PackageName, Withdrawal]:
    """Return what a channel says was withdrawn, unverified; nothing where it cannot be read."""
    with suppress(PtmError):
        return read_withdrawn(reader, read_listing(reader).targets).packages
    return {}


def own_withdrawn(reader: ChannelReader) -> Withdrawn:
    """Return the list of the maintainer's own channel, unverified; the empty one for a channel without a release.

    Raises:
        IntegrityError, TrustError, StoreError: it is damaged, or cannot be read.
    """
    try:
        listing = read_listing(reader)
    except NotFound:
        return NOTHING_WITHDRAWN
    return read_withdrawn(reader, listing.targets)
