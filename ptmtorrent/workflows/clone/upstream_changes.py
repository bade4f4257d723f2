"""Upstream changes of packages that an earlier clone captured: withdrawn, renamed, or registered again.

When the listing of a whole hub lacks such a package, the hub is asked for it by name, because the package may also have
fallen below the requested popularity, or have moved between two pages.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.owners import describe_owner_change
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.state.upstream_flags import Flag, FlagName, Flags
from ptmtorrent.workflows.clone.known import KnownPackages

MAX_QUERIES = 1000
"""Limit of packages that one run asks the hub about, one request each."""

MAX_NOTES = 20
"""Limit of packages named in notes, for each kind of change."""

_AWAY = {
    "gone": "the hub does not have it any more",
    "private": "the hub requires a login for it now; if it is yours, set its token",
    "disabled": "the hub has disabled it",
}


class UpstreamChanges:
    """Compares the listing of `hub` with the `known` packages and keeps the differences in `flags`."""

    def __init__(self, hub: Hub, known: KnownPackages, flags: Flags, clock: Clock, emit: Emit) -> None:
        self.hub, self.known, self.flags, self.clock, self.emit = hub, known, flags, clock, emit
        self.found: dict[str, int] = {}

    def compare(self, listed: Listed) -> None:
        """Flag a captured package that was withdrawn or renamed, by its present name or the one it was listed for."""
        package = self._package(listed.name)
        if (why := _AWAY.get(listed.access)) is not None:
            if self.known.identity(package) is not None:
                self._put(package, "withdrawn", f"{why}; what was captured is kept")
            return
        self.flags.drop(package, "withdrawn")
        if listed.formerly is not None:
            old = self._package(listed.formerly)
            if self.known.identity(old) is not None:
                self._put(old, "renamed", f"it is called `{package}` now; what was captured by the old name is kept")

    def check_owner(self, now: Identity) -> None:
        """Flag a name that stands for another package than the one captured; both are kept, apart by their ids."""
        before = self.known.identity(now.package)
        if before is not None and (why := describe_owner_change(before, now)) is not None:
            reason = f"it was registered again since it was captured: {why}; check who owns it"
            self._put(now.package, "registered-again", reason)

    def query(self, missing: Sequence[str], turn: int) -> None:
        """Ask the hub for captured packages that it did not list; if there are too many, for others each `turn`."""
        flagged = {flag.package for flag in self.flags.all() if flag.flag in {"withdrawn", "renamed"}}
        suspects = [name for name in missing if self._package(name) not in flagged]
        start = turn * MAX_QUERIES % len(suspects) if len(suspects) > MAX_QUERIES else 0
        chosen = (suspects[start:] + suspects[:start])[:MAX_QUERIES]
        for name in chosen:
            with suppress(HubError, NotFound):
                listed = self.hub.session.retry(lambda name=name: self._listed(name))  # type: ignore[misc]
                self.compare(listed)
        if len(chosen) < len(suspects):
            later = count(len(suspects) - len(chosen), "captured package")
            self._warn(f"{later} missing from the listing will be looked up by the next clones")

    def clear_returned(self, is_listed: Callable[[str], bool]) -> None:
        """Drop the flag of packages that were withdrawn and are listed again."""
        prefix = f"{self.hub.prefix}:"
        for flag in self.flags.all("withdrawn"):
            if flag.package.startswith(prefix) and is_listed(flag.package.removeprefix(prefix)):
                self.flags.drop(flag.package, "withdrawn")

    def _listed(self, name: str) -> Listed:
        page = next(self.hub.listing(Query(ids=(name,)), None), None)
        found = page.packages[0] if page is not None and page.packages else None
        return found or Listed(name=name, access="gone")

    def _put(self, package: PackageName, flag: FlagName, reason: str) -> None:
        if not self.flags.put(Flag(package=package, flag=flag, since=spell(self.clock()), reason=reason)):
            return
        self.found[flag] = self.found.get(flag, 0) + 1
        if self.found[flag] <= MAX_NOTES:
            self._warn(f"`{package}`: {reason}")
        elif self.found[flag] == MAX_NOTES + 1:
            self._warn(f"more packages are {flag}; count them: ptmtorrent status")

    def _warn(self, message: str) -> None:
        self.emit(Note(message=message, warning=True))

    def _package(self, name: str) -> PackageName:
        return PackageName(f"{self.hub.prefix}:{name}")
