"""Which releases a destination will list, and the signed documents that say so.

A destination lists what it holds: the releases that it lists already and the one that is published, never a release
that exists only at home. Where these are all releases of the home, its own documents are copied; otherwise a list of
the destination's own is signed, which needs the keys.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ptmtorrent.channel.paths import release_path
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import ConfigError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.locations import spell_place
from ptmtorrent.paths import Home
from ptmtorrent.state.publications import read_publications
from ptmtorrent.trust.channel_state import ChannelState, select_state, with_roots
from ptmtorrent.trust.keys import Keys

LoadKeys = Callable[[], Keys]
"""Returns the home's keys; asks for the passphrase if they are encrypted."""


def held_releases(home: Home, to: Path, there: ChannelState | None) -> tuple[ReleaseName, ...]:
    """Return the releases that the folder `to` lists and has; `there` is its present state.

    Of a folder that lost its timestamp, these are the releases that this home published to it.
    """
    recorded = read_publications(home.publications)
    listed = recorded.get(spell_place(str(to.resolve())), ()) if there is None else there.releases
    return tuple(name for name in listed if (to / release_path(name)).is_file())


def choose_listed(
    state: ChannelState, held: tuple[ReleaseName, ...], place: str, *, add: ReleaseName | None, drop: ReleaseName | None
) -> tuple[ReleaseName, ...]:
    """Return the releases that the destination `place` will list, oldest first.

    Raises:
        ConfigError: it lists a release that this home does not have any more.
    """
    wanted = {*held, *([add] if add else [])} - {drop}
    if lost := sorted(wanted - set(state.releases)):
        raise ConfigError(
            f"`{place}` lists the release `{lost[0]}`, which this home does not have",
            hint=f"retire it there first: ptmtorrent publish --retire {lost[0]} --to {place}",
        )
    return tuple(name for name in state.releases if name in wanted)


def settle_state(  # noqa: PLR0913  # two states, what is wanted, and who signs it when
    home: Home,
    state: ChannelState,
    there: ChannelState | None,
    listed: tuple[ReleaseName, ...],
    *,
    load_keys: LoadKeys | None,
    now: datetime,
) -> ChannelState:
    """Return the state to publish: the home's own, the one that is there, or a newly signed list of `listed`.

    Raises:
        ConfigError: a list has to be signed, and no keys were given or they are those of another channel.
        TrustError: the home's metadata does not hold.
        StoreLocked: a release is being made.
    """
    if listed == state.releases:
        return state
    if there is not None and there.releases == listed and there.version == state.version - 1:
        return with_roots(home.channel, there)
    if load_keys is None:
        only = ", ".join(f"`{name}`" for name in state.releases if name not in listed)
        raise ConfigError(
            f"the keys are needed to sign a list without {only}", hint="publish from the home that holds the keys"
        )
    keys = load_keys()
    with WriteLock(home.store):
        return select_state(home.channel, keys, listed, now)
