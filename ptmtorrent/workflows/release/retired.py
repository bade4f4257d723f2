"""Releases that have a withdrawn package: retired once a release without it exists, and the packs that they needed."""

from collections.abc import Collection

from ptmtorrent.catalogue.index import Index
from ptmtorrent.channel.folder import OwnReader, read_release
from ptmtorrent.channel.unlisted import delete_unneeded
from ptmtorrent.errors import NotFound
from ptmtorrent.model.ids import PackageName, ReleaseName
from ptmtorrent.model.moments import Clock
from ptmtorrent.model.records import Emit, Note
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.trust.channel_state import read_channel_state
from ptmtorrent.trust.keys import Keys
from ptmtorrent.trust.publisher import retire_releases
from ptmtorrent.trust.withdrawals import own_withdrawn


def retire_withdrawn(home: Home, keys: Keys, *, clock: Clock, emit: Emit) -> None:
    """Retire every release of the home's channel but the newest that has a withdrawn package; delete unneeded packs.

    Their documents stay, so that their content roots can be verified.

    Raises:
        IntegrityError, TrustError: the channel is damaged, or a reader would refuse it.
        StoreError: something cannot be written or deleted; run again to go on.
    """
    state = read_channel_state(home.channel)
    if state is None:
        return
    withdrawn = own_withdrawn(OwnReader(home.channel)).packages
    affected = [name for name in state.releases[:-1] if withdrawn and _has_one(home, name, withdrawn)]
    if affected:
        retire_releases(home.channel, keys, affected, clock(), accept=own_check(home, clock))
        names = ", ".join(f"`{name}`" for name in affected)
        emit(Note(message=f"retired, because a package of theirs was withdrawn: {names}"))
    if affected or state.retired:
        kept = [name for name in state.releases if name not in affected]
        deleted = delete_unneeded(home.channel, kept)
        if deleted:
            emit(Note(message=f"{count(deleted, 'pack or torrent', 'packs and torrents')} of them deleted"))


def _has_one(home: Home, name: ReleaseName, packages: Collection[PackageName]) -> bool:
    index = Index(read_release(home.channel, name)[1], OwnReader(home.channel))
    return any(_has(index, package) for package in packages)


def _has(index: Index, package: PackageName) -> bool:
    try:
        index.find(package)
    except NotFound:
        return False
    return True
