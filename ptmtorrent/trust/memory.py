"""State per channel between runs: the highest sequence seen, below which no release is accepted, and the last refresh.

TUF keeps metadata versions too, but drops them when the key of a role is replaced or a file is damaged. The sequence is
written durably, and a damaged file is an error, because a guess would allow a rollback to an old release. The time of
the last refresh is one before which the true time cannot be, unless the clock was wrong then: a clock that was set back
does not make expired metadata valid again.
"""

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from tuf.api.metadata import Root, Timestamp

from ptmtorrent.channel.paths import FIRST_ROOT_NAME, METADATA, TIMESTAMP_NAME
from ptmtorrent.disk.durable import (
    disk_errors,
    disk_errors_but_missing,
    ensure_dir,
    read_optional,
    read_regular,
    write_file,
)
from ptmtorrent.errors import IntegrityError, TrustError
from ptmtorrent.model import canonical
from ptmtorrent.model.moments import spell
from ptmtorrent.trust.fingerprints import folder_of
from ptmtorrent.trust.metadata import parse_metadata

SEEN = "seen.json"
LOCK = "lock"
_KEPT = ("timestamp", "snapshot", "targets")


class Seen(canonical.Document, frozen=True, kw_only=True, omit_defaults=True):
    """`seen.json`: the highest sequence of a release in any metadata of this channel, and the latest refresh, if any.

    `keys` are the ids of the keys that could sign for the targets role when the sequence was seen, sorted. `log` has
    the SHA-256 of the `release.json` of each release that was listed, by its sequence: what was listed once is never
    another release.
    """

    FORMAT: ClassVar[str] = "ptmtorrent/seen"

    sequence: int
    refreshed: str | None = None
    keys: tuple[str, ...] = ()
    log: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `ValueError` for a time that is not one; the document decoder turns it into an `IntegrityError`."""
        if self.refreshed is not None and datetime.fromisoformat(self.refreshed).tzinfo is None:
            raise ValueError(f"`refreshed` is {self.refreshed}")

    @property
    def refreshed_at(self) -> datetime | None:
        """The time of the latest refresh."""
        return None if self.refreshed is None else datetime.fromisoformat(self.refreshed).astimezone(UTC)


NOTHING_SEEN = Seen(format=Seen.FORMAT, version=Seen.VERSION, requires=(), sequence=0)
"""What is recorded of a channel that was never opened."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process. Other processes wait, because two clients cannot share a TUF folder.

    Raises:
        StoreError: the folder cannot be created or written.
    """
    ensure_dir(folder)
    path = folder / LOCK
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        # Some cluster filesystems have no flock. Concurrent runs may then fail, but accept nothing unverified.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def last_metadata(folder: Path) -> dict[Path, bytes | None]:
    """Return the documents that TUF kept in `folder`, by path; None for one that is not there.

    Raises:
        StoreError: one cannot be read.
    """
    return {path: read_optional(path) for path in (folder / f"{role}.json" for role in _KEPT)}


@contextmanager
def restoring(before: Mapping[Path, bytes | None]) -> Iterator[None]:
    """Put the metadata of `before` back if the block refuses newer ones that TUF accepted and kept: a fork, a rollback.

    Otherwise the channel that was read before would be refused as the older one of the two.

    Raises:
        StoreError: a file cannot be written.
    """
    try:
        yield
    except TrustError:
        for path, data in before.items():
            if data is not None:
                write_file(path, data)
            else:
                with disk_errors(path):
                    path.unlink(missing_ok=True)
        raise


def highest_seen(folder: Path) -> int:
    """Return the highest sequence seen, 0 for a channel that was never opened.

    Raises:
        As `read_seen`.
    """
    return read_seen(folder).sequence


def read_seen(folder: Path) -> Seen:
    """Return what was recorded of a channel.

    Raises:
        TrustError: the file is damaged.
        StoreError: the file cannot be read.
    """
    path = folder / SEEN
    try:
        with disk_errors_but_missing(path):
            data = read_regular(path)
        return canonical.decode(data, Seen, name=str(path))
    except FileNotFoundError:
        return NOTHING_SEEN
    except IntegrityError as error:
        raise TrustError(
            f"`{path}` is damaged, so the newest release seen of its channel is unknown",
            hint=f"if you are sure of the channel, reset the record: rm '{path}'",
        ) from error


def seen_expiries(trust: Path, fingerprint: str) -> dict[str, datetime]:
    """Return when the metadata last seen of a channel expires, by role; a role that was not seen is left out.

    Raises:
        StoreError: a file cannot be read.
    """
    folder = trust / folder_of(fingerprint)
    found: dict[str, datetime] = {}
    for path in (folder / FIRST_ROOT_NAME, folder / METADATA / "root.json"):
        with suppress(FileNotFoundError, IntegrityError), disk_errors_but_missing(path):
            found["root"] = parse_metadata(read_regular(path), Root).signed.expires
    path = folder / METADATA / TIMESTAMP_NAME
    with suppress(FileNotFoundError, IntegrityError), disk_errors_but_missing(path):
        found["timestamp"] = parse_metadata(read_regular(path), Timestamp).signed.expires
    return found


def still_counts(seen: Seen, keys: Collection[str]) -> bool:
    """Return whether the sequence `seen` binds the holders of `keys`, those of the targets role of today.

    What was signed with a key that was replaced since binds no one: a thief of that key may have stated any number
    (TUF discards its own versions for the same reason: specification, 5.3.11).
    """
    return set(seen.keys) <= set(keys)


def find_fork(seen: Seen, listed: Mapping[str, str]) -> int | None:
    """Return the first sequence at which `listed` has another release than was seen; None if the two agree."""
    forks = [int(sequence) for sequence, digest in listed.items() if seen.log.get(sequence, digest) != digest]
    return min(forks, default=None)


def seen_keys(trust: Path, fingerprint: str) -> dict[str, tuple[int, int]]:
    """Return how many keys of each role of a channel must sign and how many there are, by the newest root seen.

    Raises:
        StoreError: a file cannot be read.
    """
    folder = trust / folder_of(fingerprint)
    found: dict[str, tuple[int, int]] = {}
    for path in (folder / FIRST_ROOT_NAME, folder / METADATA / "root.json"):
        with suppress(FileNotFoundError, IntegrityError), disk_errors_but_missing(path):
            roles = parse_metadata(read_regular(path), Root).signed.roles
            found = {role: (about.threshold, len(about.keyids)) for role, about in roles.items()}
    return found


def record_refresh(  # noqa: PLR0913  # what was seen, and what was seen now
    folder: Path, seen: Seen, *, sequence: int, listed: Mapping[str, str], keys: Collection[str], now: datetime | None
) -> None:
    """Record durably a refresh at `now` that listed `sequence`, if it says more than what was `seen`.

    `keys` are those of the targets role, `listed` what it lists by sequence. `now` None: expiry was not judged.

    Raises:
        NoSpace: the disk is full.
        StoreError: the file cannot be written.
    """
    moments = [moment for moment in (now, seen.refreshed_at) if moment is not None]
    binds = still_counts(seen, keys)
    record = msgspec.structs.replace(
        seen,
        sequence=max(sequence, seen.sequence) if binds else sequence,
        refreshed=spell(max(moments)) if moments else None,
        keys=tuple(sorted(keys)),
        log={**seen.log, **listed} if binds else dict(listed),
    )
    if record != seen:
        write_file(folder / SEEN, canonical.encode(record))
