"""`release delete NAME`: delete a release that is published nowhere, such as one made by mistake."""

import time

from ptmtorrent.channel.folder import unknown_release
from ptmtorrent.channel.unlisted import find_unlisted, is_left, remove_release
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import ConfigError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic
from ptmtorrent.model.records import Emit, Result, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.state.publications import places_of
from ptmtorrent.trust.history import read_history
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import drop_release


def delete_release(  # noqa: PLR0913  # what, from where, signed by whom, and who listens
    name: ReleaseName, home: Home, keys: Keys, *, clock: Clock, emit: Emit, monotonic: Monotonic = time.monotonic
) -> Summary:
    """Take the release `name` from the home's own channel and delete the files that only it needs; packs stay stored.

    Its sequence number is not used again.

    Raises:
        NotFound: there is no such release, naming near matches.
        ConfigError: it is published somewhere, or the keys are not those of the channel.
        StoreLocked: a release is being made.
        IntegrityError, TrustError: the channel is damaged, so that it is unknown what other releases need.
        StoreError: something cannot be written or deleted; run again to go on.
    """
    started = monotonic()
    if places := places_of(home.publications, name):
        others = f" and {count(len(places) - 1, 'other place')}" if len(places) > 1 else ""
        raise ConfigError(
            f"release `{name}` is published at `{places[0]}`{others}",
            hint=f"retire it there first: ptmtorrent publish --retire {name} --to {places[0]}",
        )
    with WriteLock(home.store):
        history = read_history(home.channel, keys)
        known = (*history.listed, *history.unlisted)
        unlisted = find_unlisted(home.channel, [other for other in known if other != name], name)
        if name not in known and not (is_left(home.channel, name) or unlisted.is_left(name)):
            raise unknown_release(home.channel, name)
        if name in history.listed:
            drop_release(home.channel, keys, name, clock(), accept=own_check(home, clock))
        remove_release(home.channel, name, unlisted)
    emit(Result(kind="release", id=name, status="ok", reason="deleted", bytes=unlisted.bytes))
    return Summary(
        packages=1,
        files=len(unlisted.paths),
        bytes=unlisted.bytes,
        bytes_moved=0,
        seconds=monotonic() - started,
        unit="release",
    )
