"""`withdraw PACKAGE --why TEXT`: take a package back, from all releases.

The signed list says so at once. The next release leaves the package out, and packs that hold its objects are written
again without those that no other package needs; releases that had it are retired then, and `publish` deletes what only
they needed.
"""

from ptmtorrent.catalogue.index import Index
from ptmtorrent.channel.folder import OwnReader, read_release
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.ids import PackageName, parse_package_name
from ptmtorrent.model.moments import Clock, spell
from ptmtorrent.model.records import Emit, Note, Result, Status
from ptmtorrent.model.withdrawn import MAX_WHY, Withdrawal
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.trust.channel_state import read_channel_state
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import publish_withdrawn
from ptmtorrent.trust.withdrawals import own_withdrawn


def withdraw(  # noqa: PLR0913  # what, from where, why, signed by whom, and who listens
    name: str, home: Home, keys: Keys, *, why: str, clock: Clock, emit: Emit
) -> bool:
    """Sign that the package `name` was withdrawn from the home's channel, and `why`; return whether that is new.

    Raises:
        UsageError: `name` or `why` is malformed.
        NotFound: no release of the channel has the package; the hint has near matches.
        ConfigError, TrustError, IntegrityError: the keys are not those of the channel, or it is damaged.
        StoreLocked: a release is being made.
        StoreError: something cannot be read or written.
    """
    package, reason = parse_package_name(name), " ".join(why.split())
    if not 0 < len(reason) <= MAX_WHY:
        raise UsageError(f"a reason of 1 to {MAX_WHY} characters is needed", hint="give it: --why TEXT")
    with WriteLock(home.store):
        before = own_withdrawn(OwnReader(home.channel))
        known = before.packages.get(package)
        if known is None:
            _check_released(home, package)
            withdrawal = Withdrawal(date=spell(clock()), why=reason)
            document = before.adding(package, withdrawal)
            publish_withdrawn(home.channel, keys, document, clock(), accept=own_check(home, clock))
    status: Status = "ok" if known is None else "notneeded"
    emit(Result(kind="package", id=package, status=status, reason=(known or withdrawal).spell()))
    emit(Note(message="make a release without it: ptmtorrent release NAME, then: ptmtorrent publish NAME --to LOC"))
    return known is None


def _check_released(home: Home, package: PackageName) -> None:
    """Raise `NotFound` if no listed release has the package."""
    state = read_channel_state(home.channel)
    missing = NotFound(f"the channel `{home.channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    reader = OwnReader(home.channel)
    for release in reversed(state.releases if state else ()):
        try:
            Index(read_release(home.channel, release)[1], reader).find(package)
        except NotFound as error:
            missing = error
        else:
            return
    raise missing
