"""`renew`: keep a channel from expiring when there is nothing new to release."""

from datetime import datetime

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import renew_roles


def renew(home: Home, keys: Keys, *, clock: Clock) -> dict[str, datetime]:
    """Sign every role of the home's own channel that is due; return the time at which each role expires.

    Raises:
        NotFound: there is no release to point to, or a reader would miss a file; then nothing changed.
        StoreLocked: a release is being made.
        IntegrityError: a file is not the one that was signed; the channel serves what it did before.
        TrustError: the root has expired and its key is not at hand, or the metadata does not hold.
        ConfigError, StoreError: as `renew_roles` says.
    """
    with WriteLock(home.store):
        return renew_roles(home.channel, keys, clock(), accept=own_check(home, clock))
