"""`renew`: keep a channel from expiring when there is nothing new to release."""

from contextlib import suppress
from datetime import datetime

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import PtmError
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.records import Emit
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.trust.channel_state import read_channel_state, warn_of_clock
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import renew_roles


def renew(home: Home, keys: Keys, *, clock: Clock, emit: Emit) -> dict[str, datetime]:
    """Sign every role of the home's own channel that is due; return the time at which each role expires.

    A clock that is behind the newest release is a warning.

    Raises:
        NotFound: there is no release to point to, or a reader would miss a file; then nothing changed.
        StoreLocked: a release is being made.
        IntegrityError: a file is not the one that was signed; the channel serves what it did before.
        TrustError: the root has expired and its key is not at hand, or the metadata does not hold.
        ConfigError, StoreError: as `renew_roles` says.
    """
    with WriteLock(home.store):
        with suppress(PtmError):  # what is wrong with the channel is found below
            if state := read_channel_state(home.channel):
                warn_of_clock(home.channel, state, clock(), emit)
        return renew_roles(home.channel, keys, clock(), accept=own_check(home, clock))
