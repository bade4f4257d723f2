"""`publish --retire RELEASE --to globus:...`: take a release from the list of a collection, then delete what it needed.

As in a directory, the list without the release is signed, read back and put in place first. Then one task of the
Transfer service is asked to delete the release's folder, and the packs and torrents that no listed release needs.
"""

import time
from collections.abc import Iterator

from ptmtorrent.channel.paths import PACKS, RELEASES, TORRENTS, is_unfinished, release_folder
from ptmtorrent.channel.unlisted import Unlisted, find_needed, unneeded_files
from ptmtorrent.errors import ConfigError, NotFound
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.moments import Clock, Monotonic, read_clock
from ptmtorrent.model.records import Emit, Note, Result, Summary
from ptmtorrent.paths import Home
from ptmtorrent.transports.globus.run_job import MAX_ITEMS
from ptmtorrent.trust.channel_state import read_channel_state, warn_of_clock
from ptmtorrent.workflows.publish.globus import send
from ptmtorrent.workflows.publish.globus_send import tidy
from ptmtorrent.workflows.publish.globus_target import (
    GlobusDestination,
    Target,
    held_at,
    open_target,
    read_there,
    with_timestamp,
)
from ptmtorrent.workflows.publish.listing import LoadKeys, choose_listed, settle_state
from ptmtorrent.workflows.publish.publish import read_own
from ptmtorrent.workflows.publish.retire import check_retirable, retired_note, retired_summary


def retire_from_globus(  # noqa: PLR0913  # what, from where, and how it is watched
    name: ReleaseName,
    home: Home,
    to: GlobusDestination,
    *,
    emit: Emit,
    load_keys: LoadKeys,
    dry_run: bool = False,
    clock: Clock = read_clock,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Take the release `name` from the signed list of the collection; have what only it needs deleted.

    What the place lost of the other releases is put there again. Running it again after an interruption, or after a
    deletion that failed, goes on. With `dry_run` nothing is signed, sent or deleted.

    Raises:
        NotFound: the place is no channel, or lists no such release.
        UsageError: it is the only release that the place lists.
        ConfigError: the place holds another channel, a newer state of this one, or a release that this home lacks.
        IntegrityError, TrustError: a reader would refuse the other releases; the place serves what it did.
        AuthError, TransportError, Interrupted, StoreLocked: as `publish_to_globus` says.
    """
    started = monotonic()
    location = to.place.location
    own = read_channel_state(home.channel)
    if own is None:
        raise ConfigError(f"the home `{home.root}` has no channel", hint="name the home that published with `--home`")
    warn_of_clock(home.channel, own, clock(), emit)
    with open_target(home, to, emit, dry_run=dry_run) as opened:
        there = read_there(opened, own)
        if there is None:
            raise NotFound(f"`{location}` is no channel", hint="name the place that a release was published to")
        listed = choose_listed(own, held_at(opened, there), location, add=None, drop=name)
        unlisted = _find_unlisted(opened, listed, name)
        is_left = bool(unlisted.paths or unlisted.files)
        check_retirable(name, location, there, listed, is_left=is_left)
        emit(retired_note(name, len(unlisted.paths), "would be deleted" if dry_run else "are deleted by Globus"))
        if not dry_run:
            state = settle_state(home, own, there, listed, load_keys=load_keys, now=clock())
            target = with_timestamp(opened, state, own)
            releases = [read_own(home, each) for each in reversed(listed)]
            send(target, releases, state, there, now=clock(), monotonic=monotonic)
            _delete(target, [*_folder_or_files(target, name, unlisted), *unlisted.paths])
            tidy(target)
    emit(Result(kind="release", id=name, status="ok", path=location, reason="retired", bytes=unlisted.bytes))
    return retired_summary(unlisted, monotonic() - started)


def _find_unlisted(target: Target, listed: tuple[ReleaseName, ...], name: ReleaseName) -> Unlisted:
    """Return the files of the place that no release in `listed` needs, as the home has these."""
    folders = [TORRENTS, *(f"{PACKS}/{entry.name}" for entry in target.list(PACKS).values() if entry.folder)]
    found = {
        f"{folder}/{entry.name}": entry.size
        for folder in folders
        for entry in target.list(folder).values()
        if not entry.folder and entry.name.endswith((".pack", ".torrent"))
    }
    needed = find_needed(target.source, listed)
    paths = sorted(found.keys() - needed)
    there = [ReleaseName(entry.name) for entry in target.list(RELEASES).values() if entry.folder]
    files = unneeded_files(
        [each for each in there if not is_unfinished(each)],
        listed,
        name,
        needed,
        files_of=lambda each: list(_files_below(target, release_folder(each))),
    )
    return Unlisted(paths=tuple(paths), bytes=sum(found[path] for path in paths), files=files)


def _files_below(target: Target, folder: str) -> Iterator[str]:
    for entry in target.list(folder).values():
        path = f"{folder}/{entry.name}"
        if entry.folder:
            yield from _files_below(target, path)
        else:
            yield path


def _folder_or_files(target: Target, name: ReleaseName, unlisted: Unlisted) -> list[str]:
    """Return the folder of the release `name` if it can go as a whole, else the files that can."""
    folder = release_folder(name)
    own = set(_files_below(target, folder))
    if not own <= set(unlisted.files):
        return [*unlisted.files]
    return [folder, *(path for path in unlisted.files if path not in own)]


def _delete(target: Target, paths: list[str]) -> None:
    """Have files and folders of the place deleted; the tasks go on after this run."""
    for at in range(0, len(paths), MAX_ITEMS):
        items = [target.place.below(path) for path in paths[at : at + MAX_ITEMS]]
        task = target.service.delete(target.place.collection, items)
        target.emit(Note(message=f"task `{task}` deletes {len(items)} files and folders; it goes on by itself"))
