"""Selects the captures of a release: those whose licence allows redistribution, and those included explicitly."""

from collections import Counter
from collections.abc import Sequence

from ptmtorrent.facts.licences import CLASSES, Licence, RightsClass, read_licence
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.records import Emit, Note, Result

INCLUDE_HINT = "pass on what you have the right to: ptmtorrent release NAME --include restricted|unknown|gated"


def choose(captures: Sequence[Capture], include: frozenset[RightsClass], emit: Emit) -> list[Capture]:
    """Return the captures that are `open` or of a class in `include`; say why others are not, and how many."""
    chosen: list[Capture] = []
    left_out: Counter[str] = Counter()
    for capture in captures:
        if may_pass_on(capture, include):
            chosen.append(capture)
            continue
        licence = licence_of(capture)
        left_out[licence.rights] += 1
        reason = f"it is {licence.rights} ({licence.rule}) and may not be passed on"
        emit(Result(kind="package", id=capture.package, status="impossible", reason=reason))
    if left_out:
        counts = ", ".join(f"{left_out[rights]} {rights}" for rights in CLASSES if left_out[rights])
        emit(Note(message=f"Left out because they may not be passed on: {counts} (`--include CLASS` takes them in)."))
    return chosen


def may_pass_on(capture: Capture, include: frozenset[RightsClass]) -> bool:
    """Return whether what was captured may be passed on: it is `open`, or of a class in `include`."""
    rights = licence_of(capture).rights
    return rights == "open" or rights in include


def licence_of(capture: Capture) -> Licence:
    """Return the licence of a capture. What was captured as restricted stays so, though a later table calls it open."""
    read = read_licence(capture.licence, gated=capture.rights == "gated")
    if capture.rights == "restricted" and read.rights == "open":
        return Licence(raw=read.raw, spdx=read.spdx, rights="restricted", rule="captured as restricted")
    return read
