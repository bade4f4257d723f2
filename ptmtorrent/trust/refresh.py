"""One TUF refresh: from a pinned root to the verified list of targets, with python-tuf doing all the verifying."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from ptmtorrent.channel.paths import METADATA
from ptmtorrent.channel.port import ChannelReader
from ptmtorrent.disk.durable import disk_errors, ensure_dir
from ptmtorrent.errors import NotFound, PtmError, TransportError, TrustError
from ptmtorrent.model.moments import spell
from ptmtorrent.trust.fetcher import ReaderFetcher


def refresh(reader: ChannelReader, root: bytes, folder: Path, now: datetime) -> Targets:
    """Return the targets document of the channel that is current now, all signatures, versions and expiries checked.

    `folder` keeps the metadata seen last, against rollback. Damaged files in it are fetched again.

    Raises:
        TrustError: naming what does not hold.
        NotFound: the channel lacks a metadata file.
        TransportError: the reader's own error, unchanged.
        StoreError: `folder` cannot be written.
    """
    ensure_dir(folder)
    config = UpdaterConfig(prefix_targets_with_hash=False)
    with _our_errors(reader.location, now), disk_errors(folder):
        updater = Updater(str(folder), METADATA, fetcher=ReaderFetcher(reader), config=config, bootstrap=root)
        # The only private name we touch. python-tuf reads the machine's clock when it is made and lists no targets,
        # and has no public way to give it a time or to ask for the list. tests/trust/test_refresh.py pins both.
        trusted = updater._trusted_set  # noqa: SLF001
        trusted.reference_time = now
        updater.refresh()
        return trusted.targets


def check_target(target: TargetFile, data: bytes, location: str) -> None:
    """Check the length and hash of a target file.

    Raises:
        TrustError: they are not what the metadata says.
    """
    try:
        target.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise distrust(location, f"`{target.path}` is not the file that was signed") from error


@contextmanager
def _our_errors(location: str, now: datetime) -> Iterator[None]:
    try:
        yield
    except DownloadHTTPError as error:
        raise NotFound(
            f"channel `{location}` cannot be opened: {error}",
            hint="check the location: it may be no channel, or a part of one",
        ) from error
    except DownloadLengthMismatchError as error:
        raise distrust(location, str(error)) from error
    except DownloadError as error:
        if isinstance(error.__cause__, PtmError):
            raise error.__cause__ from None
        raise TransportError(f"channel `{location}` could not be read: {error}") from error
    except ExpiredMetadataError as error:
        raise TrustError(
            f"channel `{location}` has expired: {error}",
            hint=f"it is {spell(now)} by the clock here; if that is right, ask the maintainer for `ptmtorrent renew`, "
            "or name a release by its hash: `--release b3:HASH`",
        ) from error
    except RepositoryError as error:
        raise distrust(location, _reason(error)) from error


def _reason(error: RepositoryError) -> str:
    if isinstance(error, BadVersionNumberError):
        return f"it offers older metadata than was seen before ({error})"
    if isinstance(error, UnsignedMetadataError):
        return f"a signature does not hold ({error})"
    if isinstance(error, LengthOrHashMismatchError):
        return f"a metadata file is not the one that was signed ({error})"
    return f"its metadata is malformed ({error})"


def distrust(location: str, reason: str) -> TrustError:
    """Return the error for a channel of which `reason` is true."""
    return TrustError(
        f"channel `{location}` is not to be trusted: {reason}",
        hint="try another mirror of it; if all say the same, tell the maintainer",
    )
