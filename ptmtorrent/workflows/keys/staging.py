"""The next root of the home's channel: created, signed with the keys at hand, then published or kept until it is."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import disk_errors, ensure_dir, read_optional, sync_dir, write_file
from ptmtorrent.errors import ConfigError, NotFound
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.reading.read_back import own_check
from ptmtorrent.trust.keys import STAGED, Keys
from ptmtorrent.trust.own import read_published
from ptmtorrent.trust.roles import next_root, sign_with
from ptmtorrent.trust.rotation import Root, Signatures, count_signatures, publish_root

Change = Callable[[Root], tuple[Root, Keys]]
"""Changes a next root; returns it, and the keys at hand with those that it made."""


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A next root: its signatures, and the file it waits in; None once it is published."""

    signatures: Signatures
    file: Path | None


def make_root(home: Home, keys: Keys, change: Change, *, clock: Clock) -> Staged:
    """Make the next root of the channel by `change`, sign it with the root keys at hand, and publish or keep it.

    Raises:
        NotFound: the channel has no release yet.
        ConfigError: a change waits for signatures already, or the keys are not those of the channel.
        TrustError, IntegrityError: the channel does not hold, or a reader would refuse it.
        StoreError: something cannot be written.
    """
    if waiting := staged_files(home):
        raise ConfigError(
            f"`{waiting[0]}` waits for signatures",
            hint=f"sign it: ptmtorrent keys sign {waiting[0]}; or delete it, to drop that change",
        )
    published = read_published(home.channel, keys)
    if published.root is None or published.snapshot is None:
        raise NotFound(f"the channel `{home.channel}` has no release yet", hint="make one: ptmtorrent release NAME")
    now = clock()
    following, keys = change(next_root(published.root, max(now, published.signed_at or now)))
    listed = {*published.root.roles["root"].keyids, *following.roles["root"].keyids}
    signers = [signer for signer in keys.signers.get("root", ()) if signer.public_key.keyid in listed]
    data = sign_with(following, signers)
    file = home.keys / STAGED / f"{following.version}.root.json"
    ensure_dir(file.parent)
    write_file(file, data, mode=0o600)
    return finish(home, keys, file, data, clock=clock)


def finish(home: Home, keys: Keys, file: Path, data: bytes, *, clock: Clock) -> Staged:
    """Publish the next root in `data` if its signatures suffice, and remove its staged `file`.

    Raises:
        ConfigError, NotFound, TrustError, IntegrityError, StoreError: as `publish_root` says.
    """
    signatures = count_signatures(home.channel, data)
    if not signatures.suffice:
        return Staged(signatures=signatures, file=file)
    publish_root(home.channel, keys, data, clock(), accept=own_check(home, clock))
    staged = home.keys / STAGED / f"{signatures.version}.root.json"
    if read_optional(staged) is not None:
        with disk_errors(staged):
            staged.unlink()
        sync_dir(staged.parent)
    return Staged(signatures=signatures, file=None)


def staged_files(home: Home) -> list[Path]:
    """Return the next roots of this home that wait for signatures."""
    folder = home.keys / STAGED
    if not folder.is_dir():
        return []
    with disk_errors(folder):
        return sorted(path for path in folder.iterdir() if path.name.endswith(".root.json"))
