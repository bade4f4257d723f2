"""`renew`: keep a channel from expiring when there is nothing new to release."""

from datetime import datetime

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import renew_roles


def renew(home: Home, keys: Keys, *, clock: Clock) -> dict[str, datetime]:
    """Sign every role of the home's own channel that is due; return the time at which each role expires.

    Raises:
        NotFound: there is no release to point to.
        StoreLocked: a release is being made.
        TrustError: the root has expired and its key is not at hand, or the metadata does not hold.
        ConfigError, StoreError: as `renew_roles` says.
    """
    with WriteLock(home.store):
        return renew_roles(home.channel, keys, clock())
