"""`keys sign FILE`: add signatures to a next root that was passed as a file; publish it where its channel is."""

from pathlib import Path

from ptmtorrent.channel.paths import FIRST_ROOT
from ptmtorrent.disk.durable import disk_errors_but_missing, read_optional, read_regular, write_file
from ptmtorrent.disk.locks import WriteLock
from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model.moments import Clock
from ptmtorrent.paths import Home
from ptmtorrent.trust.fingerprints import MAX_ROOT_BYTES
from ptmtorrent.trust.keys import Passphrase, load_keys, load_signers
from ptmtorrent.trust.rotation import sign_root
from ptmtorrent.workflows.keys.staging import Staged, finish


def sign(home: Home, file: Path, passphrase: Passphrase, *, clock: Clock) -> Staged | None:
    """Sign the root in `file` with the root keys of `home`, in place. None is returned at a home without its channel.

    At the home of the channel it is published once its signatures suffice.

    Raises:
        NotFound: there is no such file.
        IntegrityError: it is not a root, or not the one after the channel's.
        ConfigError: `home` has no keys, or they cannot be opened.
        TrustError: the channel does not hold, or a reader would refuse it.
        StoreLocked: a release is being made.
        StoreError: a file cannot be read or written.
    """
    data = _read(file)
    signers = load_signers(home.keys, passphrase).get("root", ())
    signed = sign_root(data, signers)
    if signed != data:
        write_file(file, signed, mode=0o600)
    if read_optional(home.channel / FIRST_ROOT) is None:
        return None
    with WriteLock(home.store):
        return finish(home, load_keys(home.keys, passphrase, all_roles=False), file, signed, clock=clock)


def _read(file: Path) -> bytes:
    try:
        with disk_errors_but_missing(file):
            data = read_regular(file)
    except FileNotFoundError as error:
        raise NotFound(
            f"`{file}` does not exist", hint="name the file that `keys rotate` or `keys revoke` wrote"
        ) from error
    if len(data) > MAX_ROOT_BYTES:
        raise IntegrityError(f"`{file}` is longer than a root may be")
    return data
