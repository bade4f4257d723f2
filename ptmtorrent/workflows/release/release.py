"""`release NAME`: freeze the newest capture of every package into a signed, immutable release of our own channel.

Write order, each step durable before the next: placements into sealed packs, packs and torrents into the channel, the
release's folder under an unfinished name, its rename, the signatures. A crash leaves the channel as it was, or a
finished folder that the same command signs. The same store gives the same release, but for its date.
"""

import time
from collections.abc import Sequence

from ptmtorrent.channel.folder import read_release
from ptmtorrent.channel.paths import release_path
from ptmtorrent.errors import ConfigError, NotFound, UsageError
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ReleaseName, parse_release_name
from ptmtorrent.model.moments import Clock, Monotonic, behind_note, spell
from ptmtorrent.model.records import Emit, Note, Result, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.model.subset import STANDARD_RULES, SubsetRule
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History, read_history
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import publish_release_metadata
from ptmtorrent.workflows.release.write import Draft, write_folder


def release(  # noqa: PLR0913  # what is released, from where, signed by whom, when, and who listens
    name: ReleaseName,
    home: Home,
    keys: Keys,
    *,
    clock: Clock,
    emit: Emit,
    rules: Sequence[SubsetRule] = STANDARD_RULES,
    include: frozenset[RightsClass] = frozenset(),
    monotonic: Monotonic = time.monotonic,
) -> Release:
    """Make the release `name` of everything captured in `home`, sign it with `keys`, and return it.

    Packages that may not be passed on are left out, unless `include` has their class; a note says how many.
    A package whose objects are not all there is left out with a record that says so; the summary counts it as failed.

    Raises:
        UsageError: there is a release of this name, or the name cannot be one.
        NotFound: nothing was captured yet, or nothing that may be passed on.
        ConfigError: another release has to be finished first, or the keys are not those of the channel.
        StoreError: no package is complete, or something cannot be written.
        IntegrityError, TrustError: the channel is damaged.
    """
    parse_release_name(name)
    started = monotonic()
    failed = 0
    with _open_store(home) as store:
        history = read_history(home.channel, keys)
        _check_clock(clock, store, history, emit)
        if _is_unsigned(name, history):
            emit(Note(message=f"Release `{name}` was written by an earlier run; only its signatures are missing."))
        else:
            draft = Draft(
                name=name,
                channel=home.channel,
                history=history,
                rules=tuple(rules),
                created=spell(clock()),
                monotonic=monotonic,
                emit=emit,
                include=include,
            )
            failed = write_folder(store, draft)
        _, made = read_release(home.channel, name)
        path = home.channel / release_path(name)
        publish_release_metadata(home.channel, keys, path, name, made.sequence, clock())
    totals = made.totals
    reason = f"sequence {made.sequence}, content root b3:{made.content_root}"
    emit(Result(kind="release", id=name, status="ok", reason=reason, path=str(path.parent), bytes=totals.packs_bytes))
    emit(
        Summary(
            packages=totals.packages,
            files=totals.files,
            bytes=totals.raw,
            bytes_moved=0,
            seconds=monotonic() - started,
            failed=failed,
        )
    )
    return made


def _open_store(home: Home) -> Store:
    if not home.store.is_dir():
        raise NotFound(
            f"nothing has been captured in `{home.root}`", hint="capture packages first: ptmtorrent clone huggingface"
        )
    return Store.open(home.store, write=True, alone=True)


def _check_clock(clock: Clock, store: Store, history: History, emit: Emit) -> None:
    """Warn of a clock behind the captures or the previous release; sequences are not taken from it."""
    previous = history.newest
    seen = [(store.latest_moment(), "a capture in the store")]
    if previous is not None:
        seen.append((previous.created, f"release `{previous.name}`"))
    notes = (behind_note(clock(), moment, what) for moment, what in seen)
    if note := next(filter(None, notes), None):
        emit(note)


def _is_unsigned(name: ReleaseName, history: History) -> bool:
    if name in history.listed:
        raise UsageError(
            f"there is a release `{name}` already, and releases never change", hint="give the new one another name"
        )
    if others := [other for other in history.unlisted if other != name]:
        raise ConfigError(
            f"release `{others[0]}` was written but not signed", hint=f"finish it: ptmtorrent release {others[0]}"
        )
    return name in history.unlisted
