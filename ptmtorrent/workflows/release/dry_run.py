"""`release NAME --dry-run`: what a release would take in and leave out, and nothing written."""

import time

from ptmtorrent.channel.folder import read_release
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import ReleaseName, parse_release_name
from ptmtorrent.model.moments import Monotonic
from ptmtorrent.model.policy import Policy
from ptmtorrent.model.records import Emit, Note, Result, Summary
from ptmtorrent.model.release import Totals
from ptmtorrent.model.subset import STANDARD_RULES
from ptmtorrent.paths import Home
from ptmtorrent.trust.history import read_history
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.collect import check_not_empty
from ptmtorrent.workflows.release.finished import check_finished
from ptmtorrent.workflows.release.members import check_members
from ptmtorrent.workflows.release.plan import Request, make_plan, warn_of_incomplete
from ptmtorrent.workflows.release.release import check_free, is_unsigned, open_store

NOT_READ = "packs were compared by size and not read: damage in one may leave out more (ptmtorrent store check --data)"


def plan_release(  # noqa: PLR0913  # as `release`
    name: ReleaseName,
    home: Home,
    keys: Keys,
    *,
    emit: Emit,
    include: frozenset[RightsClass] = frozenset(),
    policy: Policy | None = None,
    allow_incomplete: bool = False,
    monotonic: Monotonic = time.monotonic,
) -> Summary:
    """Say what `release` would take in and leave out, as it would, and write nothing; return the summary.

    Raises:
        As `release`.
    """
    parse_release_name(name)
    started = monotonic()
    with open_store(home, emit, write=False) as store:
        history = read_history(home.channel, keys)
        request = Request(
            store=store,
            home=home,
            include=include,
            policy=policy,
            rules=STANDARD_RULES,
            emit=emit,
            allow_incomplete=allow_incomplete,
        )
        if name in history.listed:
            made, incomplete = check_finished(name, request)
            return _summarise(made.totals, monotonic() - started, len(incomplete), emit)
        if is_unsigned(name, history, home.channel):
            emit(Note(message=f"Release `{name}` was written by an earlier run; only its signatures are missing."))
            return _summarise(read_release(home.channel, name)[1].totals, monotonic() - started, 0, emit)
        check_free(name, home.channel)
        plan = make_plan(request, history.newest)
        checked = list(check_members(store, plan.chosen, allow_incomplete=allow_incomplete))
    failed = [each for each in checked if isinstance(each, Result)]
    members = [each for each in checked if not isinstance(each, Result)]
    for each in failed:
        emit(each)
    check_not_empty(plan, name, len(members))
    warn_of_incomplete(plan, [each.id for each in failed], emit)
    emit(Note(message=NOT_READ))
    totals = Totals(
        packages=len(members),
        files=sum(member.files for member in members),
        raw=sum(member.raw for member in members),
        stored=0,
        packs=0,
        packs_bytes=0,
    )
    return _summarise(totals, monotonic() - started, len(failed), emit)


def _summarise(totals: Totals, seconds: float, failed: int, emit: Emit) -> Summary:
    summary = Summary(
        packages=totals.packages,
        files=totals.files,
        bytes=totals.raw,
        bytes_moved=0,
        seconds=seconds,
        failed=failed,
        retryable=0,
    )
    emit(summary)
    return summary
