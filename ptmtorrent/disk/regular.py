"""Opens what others may have put in place of a file: a FIFO would be waited for, a device may never end.

Folders of channels, packages, stores and homes may hold anything under the name of a file, also links to such things.
"""

import errno
import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """What lies at a path is a FIFO, a device or a socket."""


def open_regular(path: Path, flags: int = 0) -> int:
    """Return a descriptor to read the file at `path`; the caller closes it. `flags` are those of `os.open`.

    Raises:
        NotRegular: it is a FIFO, a device or a socket; nothing was read from it.
        OSError: it cannot be opened; `IsADirectoryError` for a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegular(errno.EINVAL, "it is a FIFO, a device or a socket, not a file", str(path))


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Return the bytes of the file at `path`, at most `limit` of them; -1 for all.

    Raises:
        OSError: as `open_regular`.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        return stream.read(limit)
