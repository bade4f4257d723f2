"""The fingerprint of a channel: `b3:` and 64 hex digits, the BLAKE3-256 of its first root.

A maintainer publishes it, for instance in a paper, and a user enters it once. All other metadata is verified from it.
The first root never changes, so the fingerprint stays the same when keys are replaced.
"""

from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import FIRST_ROOT
from ptmtorrent.disk.durable import disk_error, read_regular
from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.ids import is_hex64

PREFIX = "b3:"
MAX_ROOT_BYTES = 512_000
"""Limit of a root document, the same as in python-tuf."""


def fingerprint(channel: Path | bytes) -> str:
    """Return `b3:<64 hex>` for a channel folder, or for the bytes of its first root.

    Raises:
        NotFound: the folder has no `metadata/1.root.json`.
        StoreError: the file cannot be read.
    """
    root = channel if isinstance(channel, bytes) else read_first_root(channel)
    return PREFIX + blake3(root).hexdigest()


def parse_fingerprint(text: str) -> str:
    """Return `text` if it is `b3:` and 64 lowercase hex digits.

    Raises:
        UsageError: it has another form.
    """
    if not (text.startswith(PREFIX) and is_hex64(text.removeprefix(PREFIX))):
        raise UsageError(
            f"`{text}` is not the fingerprint of a channel",
            hint="give `b3:` and 64 lowercase hex digits; `ptmtorrent keys show --fingerprint` prints your own",
        )
    return text


def folder_of(fingerprint: str) -> str:
    """Return the name of the folder with the state of a channel: the hex digits of the fingerprint."""
    return fingerprint.removeprefix(PREFIX)


def read_first_root(channel: Path) -> bytes:
    """Return the first root of the channel in the folder `channel`.

    Raises:
        NotFound: the folder has no first root.
        StoreError: the file cannot be read.
    """
    path = channel / FIRST_ROOT
    try:
        return read_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"`{channel}` is not a channel: it has no `{FIRST_ROOT}`",
            hint="the first release creates it: `ptmtorrent release NAME`",
        ) from error
    except OSError as error:
        raise disk_error(error, path) from error
