"""A release that is finished: the same command again ends well if it would make the same release."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from ptmtorrent.catalogue.query import read_packages
from ptmtorrent.channel.folder import OwnReader, read_release
from ptmtorrent.errors import UsageError
from ptmtorrent.model.ids import ReleaseName
from ptmtorrent.model.members import MemberRow
from ptmtorrent.model.policy import new_policy
from ptmtorrent.model.records import Note, Result, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.workflows.release.members import check_members
from ptmtorrent.workflows.release.plan import Plan, Request, make_plan
from ptmtorrent.workflows.release.policy import read_stored_policy


def check_finished(name: ReleaseName, request: Request) -> tuple[Release, list[Result]]:
    """Return the finished release `name`, if it is what would be made now, and the packages that are not complete.

    Says what is left out, as the run that made it did.

    Raises:
        UsageError: it holds something else; otherwise as `make_plan`.
    """
    channel = request.home.channel
    _, made = read_release(channel, name)
    plan = make_plan(replace(request, emit=ignore), made)
    failed: list[Result] = []
    lacks_files = not request.allow_incomplete and any(capture.missing for capture in plan.chosen)
    if lacks_files or not _is_same(plan, made, channel, ()):
        failed = [each for each in _check(request, plan) if isinstance(each, Result)]
        if not failed or not _is_same(plan, made, channel, {each.id for each in failed}):
            raise UsageError(
                f"there is a release `{name}` already, and releases never change", hint="give the new one another name"
            )
    make_plan(request, made)
    for each in failed:
        request.emit(each)
    request.emit(Note(message=f"Release `{name}` is finished, and the store has not changed since."))
    return made, failed


def _check(request: Request, plan: Plan) -> Iterator[MemberRow | Result]:
    return check_members(request.store, plan.chosen, allow_incomplete=request.allow_incomplete)


def _is_same(plan: Plan, release: Release, channel: Path, incomplete: Collection[str]) -> bool:
    """Return whether `release` holds what is planned, less the `incomplete` packages."""
    planned = {
        (each.package, each.snapshot, each.rights, each.licence)
        for each in plan.chosen
        if each.package not in incomplete
    }
    facts = read_packages(release, OwnReader(channel))
    policy = read_stored_policy(channel, release) or new_policy()
    return (
        planned == {(each.package, each.snapshot, each.rights, each.licence) for each in facts}
        and policy == plan.selection.policy
        and {(rule.name, rule.query) for rule in plan.rules} == {(each.name, each.query) for each in release.subsets}
    )
