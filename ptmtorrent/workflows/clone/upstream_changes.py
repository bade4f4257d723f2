"""Upstream changes of packages that an earlier clone captured: withdrawn, closed, renamed, or registered again.

When the listing of a whole hub lacks such a package, the hub is asked for it by name, because the package may also have
fallen below the requested popularity, or have moved between two pages.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ptmtorrent.errors import AuthError, HubError, NotFound, PtmError
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.owners import describe_owner_change
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.state.upstream_flags import CLOSED, Flag, FlagName, Flags
from ptmtorrent.workflows.clone.known import KnownPackages

MAX_QUERIES = 1000
"""Limit of packages that one run asks the hub about, one request each."""

MAX_NOTES = 20
"""Limit of packages named in notes, for each kind of change."""

_AWAY: dict[str, tuple[FlagName, str]] = {
    "gone": ("withdrawn", "the hub does not have it any more; what was captured is kept"),
    "disabled": ("withdrawn", "the hub has disabled it; what was captured is kept"),
    "private": ("private", "the hub requires a login for it now; releases leave it out"),
    "hidden": (
        "private",
        "the hub does not show it without a login now: private, or gone; releases leave it out",
    ),
    "gated": ("gated", "the hub requires that its terms are accepted now; releases leave it out"),
}
_RETURNED: tuple[FlagName, ...] = ("withdrawn", *CLOSED)
"""The flags that a package loses when it is listed for everyone."""


class UpstreamChanges:
    """Compares the listing of `hub` with the `known` packages and keeps the differences in `flags`."""

    def __init__(self, hub: Hub, known: KnownPackages, flags: Flags, clock: Clock, emit: Emit) -> None:
        self.hub, self.known, self.flags, self.clock, self.emit = hub, known, flags, clock, emit
        self.found: dict[str, int] = {}
        self._flagged = {(flag.package, flag.flag) for flag in flags.all()}

    def compare(self, listed: Listed) -> None:
        """Flag a captured package that was withdrawn, closed or renamed, by its present name or the one listed for."""
        package = self._package(listed.name)
        away = _AWAY.get(listed.access)
        for flag in _RETURNED:
            if away is None or (flag != away[0] and away[0] in CLOSED):
                self._drop(package, flag)
        if away is not None:
            self._put_away(package, *away)
        elif listed.formerly is not None:
            old = self._package(listed.formerly)
            if self.known.rights(old) is not None:
                self._put(old, "renamed", f"it is called `{package}` now; what was captured by the old name is kept")

    def check_refused(self, name: str, error: PtmError) -> None:
        """Flag a captured package that is listed for everyone, and whose files the hub refuses to give."""
        package = self._package(name)
        if isinstance(error, AuthError) and not any((package, flag) in self._flagged for flag in _RETURNED):
            self._put_away(package, "gated", f"the hub refused it ({error.message}); releases leave it out")

    def check_owner(self, now: Identity) -> None:
        """Flag a name that stands for another package than the one captured; both are kept, apart by their ids."""
        before = self.known.identity(now.package)
        if before is not None and (why := describe_owner_change(before, now)) is not None:
            reason = f"it was registered again since it was captured: {why}; check who owns it"
            self._put(now.package, "registered-again", reason)

    def query(self, missing: Sequence[str], turn: int) -> None:
        """Ask the hub for captured packages that it did not list; if there are too many, for others each `turn`."""
        flagged = {package for package, flag in self._flagged if flag in {"withdrawn", "private", "renamed"}}
        suspects = [name for name in missing if self._package(name) not in flagged]
        start = turn * MAX_QUERIES % len(suspects) if len(suspects) > MAX_QUERIES else 0
        chosen = (suspects[start:] + suspects[:start])[:MAX_QUERIES]
        for name in chosen:
            with suppress(HubError, NotFound):
                listed = self.hub.session.retry(partial(self._listed, name), what=f"`{self.hub.prefix}:{name}`")
                self.compare(listed)
        if len(chosen) < len(suspects):
            later = count(len(suspects) - len(chosen), "captured package")
            self._warn(f"{later} missing from the listing will be looked up by the next clones")

    def _listed(self, name: str) -> Listed:
        page = next(self.hub.listing(Query(ids=(name,)), None), None)
        found = page.packages[0] if page is not None and page.packages else None
        return found or Listed(name=name, access="gone")

    def _put_away(self, package: PackageName, flag: FlagName, reason: str) -> None:
        """Flag a captured package; what was captured behind a gate is not given to everyone anyway."""
        rights = self.known.rights(package)
        if rights is None or (flag in CLOSED and rights == "gated"):
            return
        self._put(package, flag, reason)

    def _drop(self, package: PackageName, flag: FlagName) -> None:
        if (package, flag) in self._flagged:
            self.flags.drop(package, flag)
            self._flagged.discard((package, flag))

    def _put(self, package: PackageName, flag: FlagName, reason: str) -> None:
        if not self.flags.put(Flag(package=package, flag=flag, since=spell(self.clock()), reason=reason)):
            return
        self._flagged.add((package, flag))
        self.found[flag] = self.found.get(flag, 0) + 1
        if self.found[flag] <= MAX_NOTES:
            self._warn(f"`{package}`: {reason}")
        elif self.found[flag] == MAX_NOTES + 1:
            self._warn(f"more packages are {flag}; count them: ptmtorrent status")

    def _warn(self, message: str) -> None:
        self.emit(Note(message=message, warning=True))

    def _package(self, name: str) -> PackageName:
        return PackageName(f"{self.hub.prefix}:{name}")
