"""The plan of a release, made before anything is written: its members, and how it differs from the previous release."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ptmtorrent.catalogue.query import read_packages
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.errors import NotFound
from ptmtorrent.facts.licences import Licence, RightsClass
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.policy import Policy, new_policy
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.release import Release
from ptmtorrent.model.subset import SubsetRule, rule_of
from ptmtorrent.paths import Home
from ptmtorrent.state.upstream_flags import read_flags
from ptmtorrent.store.store import Store
from ptmtorrent.trust.withdrawals import own_withdrawn
from ptmtorrent.workflows.release.policy import read_stored_policy
from ptmtorrent.workflows.release.select import Decision, Selection, choose, closed_packages


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The packages with what was decided about them, the subsets, the previous release, and how many are captured.

    The packages are all that are captured, or those with captures that the previous release had not.
    """

    decided: tuple[Decision, ...]
    selection: Selection
    rules: tuple[SubsetRule, ...]
    before: "Before"
    captured: int

    @property
    def chosen(self) -> list[Capture]:
        """The captures that the release takes in, each with the licence that the policy states."""
        return [each.capture for each in self.decided if each.left_out is None]


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """The members of the previous release, each with its licence as judged then; `name` is empty for no release."""

    name: str = ""
    members: Mapping[PackageName, Licence] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked of a run, and where its packages are. No `policy` means that of the previous release."""

    store: Store
    home: Home
    include: frozenset[RightsClass]
    policy: Policy | None
    rules: tuple[SubsetRule, ...]
    emit: Emit
    allow_incomplete: bool = False


def make_plan(request: Request, previous: Release | None) -> Plan:
    """Decide about every captured package, and say what is left out, what is missing and whose rights changed.

    Raises:
        NotFound: the store holds no capture.
        IntegrityError, StoreError, UnsupportedFormat: the previous release is damaged, or of a newer version.
    """
    captures = request.store.captures()
    if not captures:
        raise NotFound(
            "the store holds no captured package", hint="capture packages first: ptmtorrent clone huggingface"
        )
    selection = select(request, previous)
    decided = tuple(choose(captures, selection, request.emit))
    before = _read_before(request.home.channel, previous)
    plan = Plan(
        decided=decided,
        selection=selection,
        rules=rules_for(request, selection),
        before=before,
        captured=len(decided),
    )
    compare(plan, request.emit)
    return plan


def select(request: Request, previous: Release | None) -> Selection:
    """Return what decides about packages; say if that is the policy of the previous release.

    Raises:
        IntegrityError, StoreError, UnsupportedFormat: the policy is damaged, or of a newer version.
    """
    return Selection(
        include=request.include,
        policy=_policy_for(request, previous),
        closed=closed_packages(read_flags(request.home.flags)),
        withdrawn={
            package: withdrawal.spell()
            for package, withdrawal in own_withdrawn(OwnReader(request.home.channel)).packages.items()
        },
        allow_incomplete=request.allow_incomplete,
    )


def rules_for(request: Request, selection: Selection) -> tuple[SubsetRule, ...]:
    """Return the subsets of a release: those asked for, and those of the policy."""
    added = {name: rule_of(name, query) for name, query in selection.policy.subsets.items()}
    kept = [rule for rule in request.rules if rule.name not in added]
    return (*kept, *added.values())


def warn_of_incomplete(plan: Plan, failed: Sequence[str], emit: Emit) -> None:
    """Warn of packages of the previous release that are left out because they are not complete in the store."""
    for package in failed:
        if package in plan.before.members:
            _warn_of_missing(package, plan.before, "it is not complete in the store", emit)


def _policy_for(request: Request, previous: Release | None) -> Policy:
    if request.policy is not None:
        return request.policy
    stored = read_stored_policy(request.home.channel, previous)
    if stored is None or previous is None:
        return new_policy()
    request.emit(Note(message=f"The policy of release `{previous.name}` is used again (`--policy FILE` replaces it)."))
    return stored


def _read_before(channel: Path, previous: Release | None) -> Before:
    if previous is None:
        return Before()
    facts = read_packages(previous, OwnReader(channel))
    return judge_before(channel, previous, ((each.package, each.licence, each.rights) for each in facts))


def judge_before(channel: Path, previous: Release, facts: Iterable[tuple[PackageName, str | None, Rights]]) -> Before:
    """Return members of the previous release, each by its name, licence and rights, as judged by its policy.

    Raises:
        IntegrityError, NotFound, StoreError, UnsupportedFormat: the policy is damaged, or of a newer version.
    """
    then = Selection(policy=read_stored_policy(channel, previous) or new_policy())
    members = {package: then.judge(package, licence, rights) for package, licence, rights in facts}
    return Before(name=previous.name, members=members)


def compare(plan: Plan, emit: Emit) -> None:
    """Say whose rights changed since the previous release, and which of its members are left out."""
    now = {each.capture.package: each for each in plan.decided}
    for package, licence in plan.before.members.items():
        decision = now.get(package)
        if decision is not None and _spell(decision.licence) != _spell(licence):
            text = f"the rights of `{package}` changed since release `{plan.before.name}`"
            emit(Note(message=f"{text}: {_spell(licence)} then, {_spell(decision.licence)} now"))
        if decision is None or decision.left_out is not None:
            why = "the store holds no capture of it" if decision is None else decision.left_out
            _warn_of_missing(package, plan.before, why or "", emit)


def _warn_of_missing(package: str, before: Before, why: str, emit: Emit) -> None:
    emit(Note(message=f"`{package}` is in release `{before.name}` and is left out now: {why}", warning=True))


def _spell(licence: Licence) -> str:
    return f"{licence.rights} ({licence.raw or 'no licence'})"
