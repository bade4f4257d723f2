"""One TUF refresh: from a pinned root to the verified list of targets; python-tuf does all verification.

Delegated roles are followed on demand: `Refreshed.find` searches them as TUF orders them (specification, 5.6.7).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Root, TargetFile, Targets

from ptmtorrent.channel.paths import METADATA
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, ensure_dir
from ptmtorrent.errors import NotFound, TrustError
from ptmtorrent.model.moments import spell

if TYPE_CHECKING:
    from tuf.ngclient import Updater

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
MIRROR_HINT = "use another mirror; if all fail in the same way, inform the maintainer"
"""What a reader does about a channel that cannot be trusted."""


class Refreshed:
    """The verified metadata of a channel: its newest targets, and what they delegate; `expires` is the first to."""

    def __init__(  # noqa: PLR0913, PLR0917  # what was verified, and what errors say
        self, updater: "Updater", targets: Targets, root: Root, location: str, expiry_hint: str, expires: datetime
    ) -> None:
        self.targets = targets
        self.expires = expires
        self.root = root
        self._updater = updater
        self._location = location
        self._expiry_hint = expiry_hint

    @property
    def targets_keys(self) -> tuple[str, ...]:
        """The ids of the keys that may sign for the targets role."""
        return tuple(self.root.roles["targets"].keyids)

    def find(self, path: str) -> TargetFile | None:
        """Return what the signed metadata says of the target `path`; delegated roles are read as they are needed.

        Raises:
            TrustError: a delegated document does not verify, or has expired.
            NotFound: the channel lacks a delegated document.
            TransportError: the reader's own error.
        """
        with _translate_errors(self._location, self._expiry_hint):
            return self._updater.get_targetinfo(path)


def refresh(  # noqa: PLR0913  # the channel, what makes it trusted, and when
    reader: ChannelReader,
    root: bytes,
    folder: Path,
    now: datetime,
    *,
    seen: datetime | None = None,
    record: Path | None = None,
    accept_expired: bool = False,
) -> Refreshed:
    """Return the current metadata of the channel, after a check of all signatures, versions and expiries.

    `folder` keeps the last metadata, to detect a rollback. Damaged files in it are fetched again. Expiry is judged at
    `now`, or at the time of an earlier refresh that was `seen`, if that is later; `record` is the file that has it.
    With `accept_expired` it is not judged; signatures, versions and hashes are.

    Raises:
        TrustError: a check failed.
        NotFound: the channel lacks a metadata file.
        TransportError: the reader's own error, unchanged.
        StoreError: `folder` cannot be written.
    """
    from tuf.ngclient import Updater, UpdaterConfig

    from ptmtorrent.trust.fetcher import ReaderFetcher

    ensure_dir(folder)
    config = UpdaterConfig(prefix_targets_with_hash=False)
    judged = now if seen is None else max(now, seen)
    hint = _expiry_hint(now, judged, record)
    with _translate_errors(reader.location, hint), disk_errors(folder):
        updater = Updater(str(folder), METADATA, fetcher=ReaderFetcher(reader), config=config, bootstrap=root)
        # The only private name used: python-tuf has no public way to set the time or to list the targets.
        # tests/trust/test_refresh.py checks both.
        trusted = updater._trusted_set  # noqa: SLF001
        trusted.reference_time = _BEFORE_ALL if accept_expired else judged
        updater.refresh()
        expires = min(each.expires for each in (trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets))
        return Refreshed(updater, trusted.targets, trusted.root, reader.location, hint, expires)


def check_target(target: TargetFile, data: bytes, location: str) -> None:
    """Check the length and hash of a target file.

    Raises:
        TrustError: they differ from the metadata.
    """
    try:
        target.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise trust_error(location, f"`{target.path}` is not the signed file") from error


@contextmanager
def _translate_errors(location: str, expiry_hint: str) -> Iterator[None]:
    try:
        yield
    except DownloadHTTPError as error:
        raise NotFound(
            f"channel `{location}` cannot be opened: {error}",
            hint="check the location: it may not be a channel, or only a part of one",
        ) from error
    except DownloadLengthMismatchError as error:
        raise trust_error(location, str(error)) from error
    except ExpiredMetadataError as error:
        raise TrustError(f"channel `{location}` has expired: {error}", hint=expiry_hint) from error
    except RepositoryError as error:
        raise trust_error(location, _reason(error)) from error


def _expiry_hint(now: datetime, judged: datetime, record: Path | None) -> str:
    hint = "ask the maintainer to run `ptmtorrent renew`, or give a release by its hash: `--release b3:HASH`"
    if judged == now or record is None:
        return f"if {spell(judged)} is the right time, {hint}"
    return (
        f"the clock shows {spell(now)}, but the channel was read at {spell(judged)} before; if the clock is right and "
        f"was wrong then, reset the record: rm '{record}'; otherwise {hint}"
    )


def _reason(error: RepositoryError) -> str:
    if isinstance(error, BadVersionNumberError):
        return f"its metadata is older than the metadata seen before ({error})"
    if isinstance(error, UnsignedMetadataError):
        return f"a signature is invalid ({error})"
    if isinstance(error, LengthOrHashMismatchError):
        return f"a metadata file is not the signed one ({error})"
    return f"its metadata is malformed ({error})"


def trust_error(location: str, reason: str) -> TrustError:
    """Return the error for a channel that cannot be trusted because of `reason`."""
    return TrustError(
        f"channel `{location}` cannot be trusted: {reason}",
        hint=MIRROR_HINT,
    )
