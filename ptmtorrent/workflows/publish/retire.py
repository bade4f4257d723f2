"""`publish --retire RELEASE --to DIR`: take a release from what a directory lists, then delete what only it needs."""

import time
from pathlib import Path

from ptmtorrent.channel.unlisted import Unlisted, find_unlisted, is_left, remove_release
from ptmtorrent.errors import ConfigError, IntegrityError, NotFound, UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic, read_clock
from ptmtorrent.model.records import Emit, Note, Result, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.trust.channel_state import ChannelState, read_channel_state, warn_of_clock
from ptmtorrent.workflows.publish.files import put_metadata
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, held_releases, settle_state
from ptmtorrent.workflows.publish.publish import point_to, publishing
from ptmtorrent.workflows.publish.same_channel import check_same_channel


def retire(  # noqa: PLR0913  # what, from where, and how it is watched
    name: ReleaseName,
    home: Home,
    to: Path,
    *,
    emit: Emit,
    load_keys: LoadKeys,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Take the release `name` from the signed list of the directory `to`, then delete the files that only it needs.

    Running it again after an interruption finishes the deletion. With `dry_run` nothing is signed or deleted.

    Raises:
        NotFound: `to` lists no such release, or a reader would miss a file of another; `to` serves what it did.
        UsageError: it is the only release that `to` lists.
        ConfigError: `to` holds another channel, a newer state of this one, or a release that this home lacks.
        IntegrityError, TrustError: a reader would refuse the other releases; `to` serves what it did.
        StoreError: a file cannot be written or deleted.
    """
    started = monotonic()
    with publishing(home, dry_run=dry_run) as verified:
        own, there = _read_states(home, to)
        warn_of_clock(home.channel, own, clock(), emit)
        listed = choose_listed(own, held_releases(home, to, there), str(to), add=None, drop=name)
        unlisted = _find_unlisted(to, listed, name)
        check_retirable(name, str(to), there, listed, is_left=is_left(to, name) or unlisted.is_left(name))
        if not dry_run:
            state = settle_state(home, own, there, listed, load_keys=load_keys, now=clock())
            put_metadata(home.channel, to, state)
            point_to(home, to, state, listed[-1], verified=verified, now=clock(), emit=emit)
            remove_release(to, name, unlisted)
    emit(retired_note(name, len(unlisted.paths), "would be deleted" if dry_run else "deleted"))
    emit(Result(kind="release", id=name, status="ok", path=str(to), reason="retired", bytes=unlisted.bytes))
    return retired_summary(unlisted, monotonic() - started)


def retired_note(name: ReleaseName, files: int, what: str) -> Note:
    """Return the note of what happens to the `files` that only the release `name` needs."""
    return Note(message=f"{count(files, 'pack or torrent', 'packs and torrents')} that only `{name}` needs: {what}")


def retired_summary(unlisted: Unlisted, seconds: float) -> Summary:
    """Return the summary of a retirement."""
    return Summary(
        packages=1, files=len(unlisted.paths), bytes=unlisted.bytes, bytes_moved=0, seconds=seconds, unit="release"
    )


def _find_unlisted(to: Path, listed: tuple[ReleaseName, ...], name: ReleaseName) -> Unlisted:
    try:
        return find_unlisted(to, listed, name)
    except (NotFound, IntegrityError) as error:
        raise type(error)(error.message, hint=f"ptmtorrent publish {listed[-1]} --to {to}") from error


def check_retirable(
    name: ReleaseName, place: str, there: ChannelState, listed: tuple[ReleaseName, ...], *, is_left: bool
) -> None:
    """Refuse to retire a release that the place does not list, or its only one.

    `is_left` is set for a release that an interrupted run took from the list and did not delete.

    Raises:
        NotFound, UsageError: as above.
    """
    if name not in there.releases and not is_left:
        raise NotFound(f"`{place}` lists no release `{name}`", hint=f"it lists {', '.join(there.releases)}")
    if not listed:
        raise UsageError(
            f"`{name}` is the only release in `{place}`, and a channel lists at least one",
            hint="publish another release first, or delete the whole channel",
        )


def _read_states(home: Home, to: Path) -> tuple[ChannelState, ChannelState]:
    own, there = read_channel_state(home.channel), read_channel_state(to)
    if there is None:
        raise NotFound(f"`{to}` is no channel", hint="name the directory that a release was published to")
    if own is None:
        raise ConfigError(f"the home `{home.root}` has no channel", hint="name the home that published with `--home`")
    check_same_channel(home.channel, to, own)
    return own, there
