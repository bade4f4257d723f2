"""`keys revoke KEY`: replace one key that was lost or stolen, in every role that lists it."""

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import ROLES, Keys, new_key
from ptmtorrent.trust.rotation import Root, change_role
from ptmtorrent.workflows.keys.staging import Staged, make_root

MIN_DIGITS = 8
"""Fewest hex digits of the id of a key that name it."""


def revoke(home: Home, keys: Keys, key: str, *, clock: Clock) -> Staged:
    """Take the key whose id starts with `key` from its roles and put a new one in its place.

    The key itself is not needed: other root keys sign. Returns the next root, published or waiting for signatures.

    Raises:
        UsageError: too few digits, or several keys start with them.
        NotFound: the channel lists no such key, or has no release yet.
        ConfigError, TrustError, IntegrityError, StoreError: as `make_root` says.
        StoreLocked: a release is being made.
    """

    def change(root: Root) -> tuple[Root, Keys]:
        changed, more = root, keys
        keyid = _find(root, key)
        for role in ROLES:
            if keyid in root.roles[role].keyids:
                signer = new_key(home.keys, role, keys.passphrase)
                changed = change_role(changed, role, [keyid], [signer.public_key], None)
                more = more.adding(role, (signer,))
        return changed, more

    with WriteLock(home.store):
        return make_root(home, keys, change, clock=clock)


def _find(root: Root, key: str) -> str:
    if len(key) < MIN_DIGITS:
        raise UsageError(f"`{key}` is too short for the id of a key", hint=f"give at least {MIN_DIGITS} digits of it")
    found = sorted({keyid for role in ROLES for keyid in root.roles[role].keyids if keyid.startswith(key.lower())})
    if not found:
        raise NotFound(f"the channel lists no key `{key}`", hint="see them: ptmtorrent keys show")
    if len(found) > 1:
        raise UsageError(f"{len(found)} keys start with `{key}`", hint="give more digits of the id")
    return found[0]
