"""Selects the captures of a release: by licence, by what their hub gives to everyone now, and by the policy."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ptmtorrent.facts.licences import CLASSES, Licence, RightsClass, read_licence
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Capture, Rights
from ptmtorrent.model.policy import Policy, new_policy
from ptmtorrent.model.records import Emit, Note, Result
from ptmtorrent.model.subset import find_pattern
from ptmtorrent.state.upstream_flags import CLOSED, Flag

INCLUDE_HINT = "pass on what you have the right to: ptmtorrent release NAME --include restricted|unknown|gated"


POLICY = "policy"
"""The source of a licence that the policy of a release states."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A capture, with its licence as the policy says it, and why the release leaves it out; None if it takes it in."""

    capture: Capture
    licence: Licence
    left_out: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What decides: classes included by the user, the policy, and the packages that their hub has closed, with why.

    Packages that were `withdrawn` are left out whatever the rest says.

    With `allow_incomplete`, packages some of whose files were not captured are taken in too.
    """

    include: frozenset[RightsClass] = frozenset()
    policy: Policy = msgspec.field(default_factory=new_policy)
    closed: Mapping[str, str] = msgspec.field(default_factory=dict)
    withdrawn: Mapping[str, str] = msgspec.field(default_factory=dict)
    allow_incomplete: bool = False

    def decide(self, capture: Capture) -> Decision:
        """Return whether a capture is taken in; a withdrawal is the strongest reason, then the policy."""
        policy, package = self.policy, capture.package
        licence = self.judge(package, capture.licence, capture.rights)
        if licence.raw != capture.licence:
            capture = capture.with_licence(licence.raw, POLICY)
        left_out = None
        if (why := self.withdrawn.get(package)) is not None:
            left_out = why
        elif (key := find_pattern(policy.exclude, package)) is not None:
            left_out = f"the policy excludes it: {policy.exclude[key]}"
        elif not self._may_be_passed_on(licence.rights) and find_pattern(policy.include, package) is None:
            left_out = f"it is {licence.rights} ({licence.rule}) and may not be redistributed"
        return Decision(capture=capture, licence=licence, left_out=left_out)

    def judge(self, package: str, licence: str | None, rights: Rights) -> Licence:
        """Return the licence of a package from the one its hub names and the rights it was captured with."""
        key = find_pattern(self.policy.licences, package)
        if key is None:
            read = _licence_of(licence, rights)
        else:
            read = read_licence(self.policy.licences[key].licence, gated=rights == "gated")
        if (why := self.closed.get(package)) is not None:
            read = msgspec.structs.replace(read, rights="gated", rule=why)
        return read

    def _may_be_passed_on(self, rights: RightsClass) -> bool:
        return rights == "open" or rights in self.include or rights in self.policy.include


def closed_packages(flags: Sequence[Flag]) -> dict[str, str]:
    """Return the packages that their hub has closed since their capture, and why."""
    return {flag.package: f"{flag.flag} on its hub since {flag.since[:10]}" for flag in flags if flag.flag in CLOSED}


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A package that a release leaves out, its class, and why."""

    package: PackageName
    rights: RightsClass
    why: str


def choose(captures: Sequence[Capture], selection: Selection, emit: Emit) -> list[Decision]:
    """Decide about every capture; emit a record of each that is left out, and how many there are of each class."""
    decided = [selection.decide(capture) for capture in captures]
    announce(left_out(decided), emit)
    _warn_of_unused(captures, selection.policy, emit)
    return decided


def left_out(decided: Iterable[Decision]) -> list[LeftOut]:
    """Return what is left out of what was decided."""
    return [
        LeftOut(package=each.capture.package, rights=each.licence.rights, why=each.left_out)
        for each in decided
        if each.left_out is not None
    ]


def announce(packages: Iterable[LeftOut], emit: Emit) -> None:
    """Emit a record of each package that is left out, and how many there are of each class."""
    counted: Counter[str] = Counter()
    for each in packages:
        emit(Result(kind="package", id=each.package, status="impossible", reason=each.why))
        counted[_kind_of(each)] += 1
    excluded, withdrawn = counted.pop("excluded", 0), counted.pop("withdrawn", 0)
    if counted:
        counts = ", ".join(f"{counted[rights]} {rights}" for rights in CLASSES if counted[rights])
        emit(Note(message=f"Left out, because redistribution is not allowed: {counts} (see `--include CLASS`)."))
    if excluded:
        emit(Note(message=f"Left out because the policy excludes them: {excluded}."))
    if withdrawn:
        emit(Note(message=f"Left out because they were withdrawn: {withdrawn}."))


def _kind_of(each: LeftOut) -> str:
    for start, kind in (("the policy", "excluded"), ("withdrawn", "withdrawn")):
        if each.why.startswith(start):
            return kind
    return each.rights


def _licence_of(licence: str | None, rights: Rights) -> Licence:
    """Return the licence of a capture. What was captured as restricted stays so, though a later table calls it open."""
    read = read_licence(licence, gated=rights == "gated")
    if rights == "restricted" and read.rights == "open":
        return msgspec.structs.replace(read, rights="restricted", rule="captured as restricted")
    return read


def _warn_of_unused(captures: Sequence[Capture], policy: Policy, emit: Emit) -> None:
    """Warn of decisions about packages that are not captured: a misspelt name would decide nothing."""
    names = sorted(capture.package for capture in captures)
    for key in dict.fromkeys((*policy.include, *policy.exclude, *policy.licences)):
        start = key.removesuffix("*")
        first = bisect_left(names, start)
        found = first < len(names) and (names[first].startswith(start) if key.endswith("*") else names[first] == key)
        if ":" in key and not found:
            emit(Note(message=f"the policy names `{key}`, and no such package is captured", warning=True))
