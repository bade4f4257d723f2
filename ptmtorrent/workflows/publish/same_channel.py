"""Is a directory that is published to an older state of the same channel?"""

from pathlib import Path

from ptmtorrent.channel.paths import FIRST_ROOT
from ptmtorrent.disk.durable import read_optional
from ptmtorrent.errors import ConfigError
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state

_FROM_ITS_HOME = "publish from the home that made it, or bring its `channel` folder here"


def check_same_channel(source: Path, target: Path, state: ChannelState) -> None:
    """Refuse to publish over another channel, or over a newer or diverged state of this one.

    Raises:
        ConfigError: naming the reason.
    """
    theirs = read_optional(target / FIRST_ROOT)
    if theirs is not None and theirs != read_optional(source / FIRST_ROOT):
        raise ConfigError(f"`{target}` has another channel with its own keys", hint="name another directory")
    there = read_channel_state(target)
    if there is None or there.timestamp == state.timestamp:
        return
    if there.version >= state.version:
        raise ConfigError(
            f"`{target}` was published from a newer state of this channel: it is at version {there.version}, "
            f"this home at {state.version}",
            hint=_FROM_ITS_HOME,
        )
    if any(read_optional(source / path) != read_optional(target / path) for path in there.files):
        raise ConfigError(
            f"`{target}` was published from another copy of this home that has diverged", hint=_FROM_ITS_HOME
        )
