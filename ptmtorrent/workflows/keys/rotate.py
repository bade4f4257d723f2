"""`keys rotate ROLE`: replace all keys of a role, and where asked how many there are and how many must sign."""

from pathlib import Path

import msgspec

from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import UsageError
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust.keys import MAX_ROOT_KEYS, Keys, add_signer, new_key, read_public_key
from ptmtorrent.trust.rotation import Root, Signer, change_role
from ptmtorrent.workflows.keys.staging import Staged, make_root


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """Which role gets how many new keys, how many must sign, and where its key is if it is not made here."""

    role: str
    keys: int | None = None
    threshold: int | None = None
    signer: str | None = None
    public_key: Path | None = None


def rotate(home: Home, keys: Keys, request: Rotation, *, clock: Clock) -> Staged:
    """Replace all keys of the role; return the next root, published or waiting for signatures.

    Raises:
        UsageError: the numbers contradict each other, or `signer` and `public_key` are not given together.
        NotFound, ConfigError, TrustError, IntegrityError, StoreError: as `make_root` says.
        StoreLocked: a release is being made.
    """
    if (request.signer is None) != (request.public_key is None):
        raise UsageError(
            "`--signer` needs `--public-key`", hint="give the URI of the key and the file with its public part"
        )

    def change(root: Root) -> tuple[Root, Keys]:
        role = request.role
        old = tuple(root.roles[role].keyids)
        number = 1 if request.signer else request.keys or len(old)
        threshold = request.threshold or min(root.roles[role].threshold, number)
        if not 1 <= threshold <= number <= MAX_ROOT_KEYS:
            raise UsageError(
                f"{threshold} signatures of {number} keys cannot be required", hint="give a lower `--threshold`"
            )
        added = _new_signers(home, keys, request, number)
        changed = change_role(root, role, old, [signer.public_key for signer in added], threshold)
        return changed, keys.adding(role, added)

    with WriteLock(home.store):
        return make_root(home, keys, change, clock=clock)


def _new_signers(home: Home, keys: Keys, request: Rotation, number: int) -> tuple[Signer, ...]:
    if request.signer is not None and request.public_key is not None:
        return (add_signer(home.keys, request.role, request.signer, read_public_key(request.public_key)),)
    return tuple(new_key(home.keys, request.role, keys.passphrase) for _ in range(number))
