"""What became of packages that an earlier clone captured: withdrawn, renamed, or registered again by others.

A listing of a whole hub that lacks such a package makes it suspect; the hub is then asked for it by name, because a
package may also have fallen below the popularity that was asked for, or have moved between two pages.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.owners import other_owner
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.state.upstream_flags import Flag, FlagName, Flags
from ptmtorrent.workflows.clone.known import Captured

MAX_ASKED = 1000
"""Limit of packages that one run asks the hub about, one request each."""

MAX_TOLD = 20
_AWAY = {
    "gone": "the hub does not have it any more",
    "private": "the hub wants a login for it now; if it is yours, set its token",
    "disabled": "the hub has disabled it",
}


class Flagging:
    """Compares what `hub` says now with what is `captured`, and keeps what differs in `flags`."""

    def __init__(self, hub: Hub, captured: Captured, flags: Flags, clock: Clock, emit: Emit) -> None:
        self.hub, self.captured, self.flags, self.clock, self.emit = hub, captured, flags, clock, emit
        self.found: dict[str, int] = {}

    def compare(self, listed: Listed) -> None:
        """Compare what the hub says of a package that is captured under this name, or under the one it was asked by."""
        package = self._package(listed.name)
        if (why := _AWAY.get(listed.access)) is not None:
            if self.captured.identity(package) is not None:
                self._put(package, "withdrawn", f"{why}; what was captured is kept")
            return
        self.flags.drop(package, "withdrawn")
        if listed.formerly is not None:
            old = self._package(listed.formerly)
            if self.captured.identity(old) is not None:
                self._put(old, "renamed", f"it is called `{package}` now; what was captured by the old name is kept")

    def check_owner(self, now: Identity) -> None:
        """Flag a name that stands for another package than the one captured; both are kept, apart by their ids."""
        before = self.captured.identity(now.package)
        if before is not None and (why := other_owner(before, now)) is not None:
            reason = f"it was registered again since it was captured: {why}; check who owns it"
            self._put(now.package, "registered-again", reason)

    def ask(self, missing: Sequence[str], turn: int) -> None:
        """Ask for captured packages that the hub did not list; of too many, for others each `turn`."""
        known = {flag.package for flag in self.flags.all() if flag.flag in {"withdrawn", "renamed"}}
        suspects = [name for name in missing if self._package(name) not in known]
        start = turn * MAX_ASKED % len(suspects) if len(suspects) > MAX_ASKED else 0
        chosen = (suspects[start:] + suspects[:start])[:MAX_ASKED]
        for name in chosen:
            with suppress(HubError, NotFound):
                listed = self.hub.session.retry(lambda name=name: self._ask(name))  # type: ignore[misc]
                self.compare(listed)
        if len(chosen) < len(suspects):
            self._say(f"{len(suspects) - len(chosen)} captured packages that were not listed will be asked for later")

    def forget_returned(self, is_listed: Callable[[str], bool]) -> None:
        """Take the flag from packages that were withdrawn and are listed again."""
        prefix = f"{self.hub.prefix}:"
        for flag in self.flags.all("withdrawn"):
            if flag.package.startswith(prefix) and is_listed(flag.package.removeprefix(prefix)):
                self.flags.drop(flag.package, "withdrawn")

    def _ask(self, name: str) -> Listed:
        page = next(self.hub.listing(Query(ids=(name,)), None), None)
        found = page.packages[0] if page is not None and page.packages else None
        return found or Listed(name=name, access="gone")

    def _put(self, package: PackageName, flag: FlagName, reason: str) -> None:
        if not self.flags.put(Flag(package=package, flag=flag, since=spell(self.clock()), reason=reason)):
            return
        self.found[flag] = self.found.get(flag, 0) + 1
        if self.found[flag] <= MAX_TOLD:
            self._say(f"`{package}`: {reason}")
        elif self.found[flag] == MAX_TOLD + 1:
            self._say(f"more packages are {flag}: `ptmtorrent status` counts them")

    def _say(self, message: str) -> None:
        self.emit(Note(message=message, warning=True))

    def _package(self, name: str) -> PackageName:
        return PackageName(f"{self.hub.prefix}:{name}")
