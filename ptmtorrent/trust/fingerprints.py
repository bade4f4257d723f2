"""The fingerprint of a channel: the BLAKE3-256 of its first root, `b3:` and 64 hex digits.

It is what a maintainer prints in a paper and a user types once; everything else a channel says follows from it. The
first root never changes, so neither does the fingerprint when keys do.
"""

from pathlib import Path

from blake3 import blake3

from ptmtorrent.channel.paths import FIRST_ROOT
from ptmtorrent.disk.durable import disk_error
from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.ids import is_hex64

PREFIX = "b3:"
MAX_ROOT_BYTES = 512_000
"""No root is longer; the same bound a stock TUF client has."""


def fingerprint(channel: Path | bytes) -> str:
    """Return `b3:<64 hex>` for a channel's folder, or for the bytes of its first root.

    Raises:
        NotFound: the folder has no `metadata/1.root.json`.
        StoreError: it cannot be read.
    """
    root = channel if isinstance(channel, bytes) else read_first_root(channel)
    return PREFIX + blake3(root).hexdigest()


def parse_fingerprint(text: str) -> str:
    """Return `text` when it is `b3:` and 64 lowercase hex digits.

    Raises:
        UsageError: it is anything else.
    """
    if not (text.startswith(PREFIX) and is_hex64(text.removeprefix(PREFIX))):
        raise UsageError(
            f"`{text}` is not the fingerprint of a channel",
            hint="it is `b3:` and 64 lowercase hex digits; `ptmtorrent keys show --fingerprint` prints your own",
        )
    return text


def folder_of(fingerprint: str) -> str:
    """Return the name of the folder for what is remembered of a channel: the hex digits, no colon."""
    return fingerprint.removeprefix(PREFIX)


def read_first_root(channel: Path) -> bytes:
    """Return the first root of the channel in the folder `channel`.

    Raises:
        NotFound: there is none.
        StoreError: it cannot be read.
    """
    path = channel / FIRST_ROOT
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"`{channel}` is not a channel: it has no `{FIRST_ROOT}`",
            hint="a channel gets its root with its first release: `ptmtorrent release NAME`",
        ) from error
    except OSError as error:
        raise disk_error(error, path) from error
