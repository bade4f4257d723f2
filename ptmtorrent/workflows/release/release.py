"""`release NAME`: freeze the newest capture of every package into a signed, immutable release of our own channel.

Write order, each step durable before the next: objects that must be stored apart into sealed packs; the release's
folder under an unfinished name; packs and torrents into the channel; `release.json`, the rename, the signatures. A
crash leaves the channel as it was, or a finished folder that the same command signs. The same store gives the same
release, but for its date.
"""

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from ptmtorrent.channel.folder import read_release
from ptmtorrent.channel.paths import release_folder, release_path
from ptmtorrent.channel.unlisted import paths_below
from ptmtorrent.disk.durable import make_readable
from ptmtorrent.errors import ConfigError, NotFound, PtmError, UsageError
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.layouts.folders import files_below
from ptmtorrent.model.ids import ReleaseName, parse_release_name
from ptmtorrent.model.moments import Clock, Monotonic, behind_note, spell
from ptmtorrent.model.policy import Policy
from ptmtorrent.model.records import Emit, Note, Result, Status, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.model.subset import STANDARD_RULES, SubsetRule
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.store.foresight import foresee, open_foreseen
from ptmtorrent.store.store import Store
from ptmtorrent.trust.history import History, read_history
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import publish_release_metadata
from ptmtorrent.workflows.release.carried import Undecided
from ptmtorrent.workflows.release.collect import Collected
from ptmtorrent.workflows.release.finished import check_finished
from ptmtorrent.workflows.release.plan import Request, make_plan, warn_of_incomplete
from ptmtorrent.workflows.release.recall import recall, remember
from ptmtorrent.workflows.release.retired import retire_withdrawn
from ptmtorrent.workflows.release.write import Draft, write_folder

_LOST = (
    "the newest capture of `{}` is lost with a pack that is missing or was cut short: put the pack back, restore it"
    " (ptmtorrent store repair --from LOC), or clone the package again"
)


def release(  # noqa: PLR0913  # what is released, from where, signed by whom, when, and who listens
    name: ReleaseName,
    home: Home,
    keys: Keys,
    *,
    clock: Clock,
    emit: Emit,
    rules: Sequence[SubsetRule] = STANDARD_RULES,
    include: frozenset[RightsClass] = frozenset(),
    policy: Policy | None = None,
    allow_incomplete: bool = False,
    monotonic: Monotonic = time.monotonic,
) -> Release:
    """Make the release `name` of everything captured in `home`, sign it with `keys`, and return it.

    Packages that may not be redistributed are left out, unless `include` has their class or the policy includes them; a
    record names each. Without a `policy` that of the previous release is used again. A package whose objects are not
    all there is left out with a record that says so; the summary counts it as failed. So is one that was captured
    without some of its files, unless `allow_incomplete`. A release that is finished is returned as it is, if the store
    has not changed since.

    Raises:
        UsageError: another release of this name exists, one that was deleted has files, or the name cannot be one.
        NotFound: nothing was captured yet, or nothing that may be redistributed.
        ConfigError: another release has to be finished first, or the keys are not those of the channel.
        StoreError: no package is complete, or something cannot be written.
        IntegrityError, TrustError: the channel is damaged.
    """
    parse_release_name(name)
    started = monotonic()
    failed: list[str] = []
    with open_store(home, emit) as store:
        history = read_history(home.channel, keys)
        _check_clock(clock, store, history, emit)
        request = Request(
            store=store,
            home=home,
            include=include,
            policy=policy,
            rules=tuple(rules),
            emit=emit,
            allow_incomplete=allow_incomplete,
        )
        if name in history.listed:
            made, incomplete = check_finished(name, request)
            _report(made, home, monotonic() - started, emit, failed=len(incomplete), status="notneeded")
            return made
        if is_unsigned(name, history, home.channel):
            emit(Note(message=f"Release `{name}` was written by an earlier run; only its signatures are missing."))
            made = _sign(home, keys, name, clock)
        else:
            check_free(name, home.channel)
            made, failed = _make(request, history, name, keys, clock=clock, monotonic=monotonic)
        retire_withdrawn(home, keys, clock=clock, emit=emit)
        for file in files_below(home.channel):
            make_readable(home.root, file)
    _report(made, home, monotonic() - started, emit, failed=len(failed))
    return made


def _make(  # noqa: PLR0913  # what is released, signed by whom, when
    request: Request, history: History, name: ReleaseName, keys: Keys, *, clock: Clock, monotonic: Monotonic
) -> tuple[Release, list[str]]:
    """Make and sign the release `name`; return it, and the packages that are not complete."""
    home, emit, created = request.home, request.emit, spell(clock())
    written: Collected | None = None
    recalled = recall(request, history)
    if recalled is not None:
        plan, said = recalled.plan, recalled.said
        draft = Draft(
            name=name, home=home, history=history, plan=plan, created=created, monotonic=monotonic, emit=said.append
        )
        with suppress(Undecided):
            written = write_folder(request.store, draft, recalled)
            for event in said:
                emit(event)
    if written is None:
        recalled, plan = None, make_plan(request, history.newest)
        draft = Draft(name=name, home=home, history=history, plan=plan, created=created, monotonic=monotonic, emit=emit)
        written = write_folder(request.store, draft)
        warn_of_incomplete(plan, written.failed, emit)
    made = _sign(home, keys, name, clock)
    remember(request, made, plan, written, recalled)
    return made, written.failed


def _sign(home: Home, keys: Keys, name: ReleaseName, clock: Clock) -> Release:
    _, made = read_release(home.channel, name)
    path = home.channel / release_path(name)
    accept = own_check(home, clock)
    publish_release_metadata(home.channel, keys, path, name, made.sequence, clock(), accept=accept)
    return made


def _report(  # noqa: PLR0913  # the fields of a record
    made: Release, home: Home, seconds: float, emit: Emit, *, failed: int = 0, status: Status = "ok"
) -> None:
    """Emit the record of a release, and the summary."""
    totals = made.totals
    reason = f"sequence {made.sequence}, content root b3:{made.content_root}"
    path = str((home.channel / release_path(made.name)).parent)
    emit(Result(kind="release", id=made.name, status=status, reason=reason, path=path, bytes=totals.packs_bytes))
    emit(
        Summary(
            packages=totals.packages,
            files=totals.files,
            bytes=totals.raw,
            bytes_moved=0,
            seconds=seconds,
            failed=failed,
            retryable=0,
        )
    )


def open_store(home: Home, emit: Emit, *, write: bool = True) -> Store:
    """Open the store of `home`, alone to write, and name the packages whose newest capture is lost.

    To be read, it is opened as it will be found once it is opened to be written.

    Raises:
        NotFound: nothing has been captured.
    """
    if not home.store.is_dir():
        raise NotFound(
            f"nothing has been captured in `{home.root}`", hint="capture packages first: ptmtorrent clone huggingface"
        )
    with suppress(*([PtmError] if write else [])), closing(open_foreseen(home.store)) as foreseen:
        for package in foreseen.lost_captures():
            emit(Note(message=_LOST.format(package), warning=True))
    return Store.open(home.store, write=True, exclusive=True) if write else foresee(home.store)


def _check_clock(clock: Clock, store: Store, history: History, emit: Emit) -> None:
    """Warn of a clock behind the captures or the previous release; sequences are not taken from it."""
    previous = history.newest
    seen = [(store.latest_moment(), "a capture in the store")]
    if previous is not None:
        seen.append((previous.created, f"release `{previous.name}`"))
    notes = (behind_note(clock(), moment, what) for moment, what in seen)
    if note := next(filter(None, notes), None):
        emit(note)


def is_unsigned(name: ReleaseName, history: History, channel: Path) -> bool:
    """Return whether the release was written, and not signed.

    Raises:
        ConfigError: another release was; or one was taken from the list, and not all of it was deleted.
        IntegrityError, StoreError: such a release cannot be read.
    """
    for other in history.unlisted:
        if read_release(channel, other)[1].sequence <= history.sequence:
            raise ConfigError(
                f"the deletion of release `{other}` was interrupted",
                hint=f"finish it: ptmtorrent release delete {other}",
            )
    if others := [other for other in history.unlisted if other != name]:
        raise ConfigError(
            f"release `{others[0]}` was written but not signed", hint=f"finish it: ptmtorrent release {others[0]}"
        )
    return name in history.unlisted


def check_free(name: ReleaseName, channel: Path) -> None:
    """Refuse the name of a release that was deleted, and whose folder has files that other releases list.

    Raises:
        UsageError: it has.
    """
    if list(paths_below(channel, release_folder(name))):
        raise UsageError(
            f"`{channel / release_folder(name)}` has files of a deleted release that other releases list",
            hint="give the new release another name",
        )
