"""`renew`: keep a channel from expiring when there is nothing new to release."""

from datetime import datetime

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import renew_timestamp


def renew(home: Home, keys: Keys, *, clock: Clock) -> datetime:
    """Sign the pointer of the home's own channel for another 30 days; return when it expires.

    Raises:
        NotFound: there is no release to point to.
        StoreLocked: a release is being made.
        ConfigError, TrustError, StoreError: as `renew_timestamp` says.
    """
    with WriteLock(home.store):
        return renew_timestamp(home.channel, keys, clock())
