"""The maintainer's keys: four Ed25519 keys for the four TUF roles, and a minisign key pair.

::

    keys/                 0700
      root.pem            0600   PKCS8 PEM, encrypted if there is a passphrase
      targets.pem         0600
      snapshot.pem        0600
      timestamp.pem       0600
      minisign.key        0600   in the format of the minisign program, encrypted with the same passphrase
      minisign.pub        0644   for verification: `minisign -Vm release.json -p minisign.pub`

The folder is created by one rename and never changed.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import minisign
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from ptmtorrent.disk.durable import disk_errors, disk_errors_but_missing, ensure_dir, read_regular, sync_dir, write_file
from ptmtorrent.errors import ConfigError

ROLES = ("root", "targets", "snapshot", "timestamp")
MINISIGN_KEY = "minisign.key"
MINISIGN_PUBLIC = "minisign.pub"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True)
class Keys:
    """Keys in memory, ready to sign: a signer for each of `ROLES`, and the minisign secret key.

    The root signs only the first release and its own renewal, so its key may be kept elsewhere; then `signers`
    lacks it.
    """

    signers: dict[str, CryptoSigner]
    minisign: minisign.SecretKey

    @property
    def minisign_public(self) -> bytes:
        """The public key in the format of the minisign program."""
        return bytes(self.minisign.get_public_key()) + b"\n"


def init_keys(folder: Path, passphrase: bytes | None) -> None:
    """Create keys in `folder`, readable by their owner only; for `passphrase` None they are not encrypted.

    Raises:
        ConfigError: `folder` is not empty, or the passphrase is empty or not UTF-8.
        StoreError: `folder` cannot be written.
    """
    _refuse_existing(folder)
    files = _new_key_files(_check_passphrase(passphrase))
    ensure_dir(folder.parent)
    with disk_errors(folder):
        unfinished = Path(tempfile.mkdtemp(prefix=".keys-", dir=folder.parent))
    try:
        for name, data in files.items():
            write_file(unfinished / name, data, mode=0o644 if name == MINISIGN_PUBLIC else 0o600)
        _refuse_existing(folder)
        with disk_errors(folder):
            unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_dir(folder.parent)


def load_keys(folder: Path, passphrase: Callable[[], bytes | None]) -> Keys:
    """Read the keys in `folder`; `root.pem` may be missing. `passphrase` is called once, only for encrypted keys.

    Raises:
        ConfigError: a key is missing or damaged, or the passphrase is missing or wrong.
        StoreError: the folder cannot be read.
    """
    here = [role for role in ROLES if role != "root" or (folder / "root.pem").exists()]
    pems = {role: _read(folder, f"{role}.pem") for role in here}
    secret = _read(folder, MINISIGN_KEY)
    encrypted = any(pem.startswith(_ENCRYPTED) for pem in pems.values())
    entered = _check_passphrase(_ask_passphrase(folder, passphrase)) if encrypted else None
    return Keys(
        signers={role: _load_signer(folder / f"{role}.pem", pem, entered) for role, pem in pems.items()},
        minisign=_load_minisign(folder / MINISIGN_KEY, secret, entered),
    )


def _new_key_files(passphrase: bytes | None) -> dict[str, bytes]:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    files = {
        f"{role}.pem": Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        for role in ROLES
    }
    pair = minisign.KeyPair.generate()
    if passphrase:
        pair.secret_key.encrypt(passphrase.decode())
    files[MINISIGN_KEY] = bytes(pair.secret_key) + b"\n"
    files[MINISIGN_PUBLIC] = bytes(pair.public_key) + b"\n"
    return files


def _refuse_existing(folder: Path) -> None:
    with disk_errors(folder):
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConfigError(
                f"`{folder}` exists already; keys are never overwritten",
                hint="use another `--home`, or move the folder away: a channel without its keys cannot be continued",
            )


def _check_passphrase(passphrase: bytes | None) -> bytes | None:
    if passphrase is None:
        return None
    try:
        passphrase.decode()
    except UnicodeDecodeError as error:
        raise ConfigError("the passphrase is not valid UTF-8") from error
    if not passphrase:
        raise ConfigError("the passphrase is empty", hint="enter one, or use `ptmtorrent keys init --no-passphrase`")
    return passphrase


def _ask_passphrase(folder: Path, passphrase: Callable[[], bytes | None]) -> bytes:
    entered = passphrase()
    if entered is None:
        raise ConfigError(
            f"the keys in `{folder}` are encrypted and no passphrase was given",
            hint="set PTMTORRENT_KEY_PASSPHRASE, or run this on a terminal",
        )
    return entered


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        with disk_errors_but_missing(path):
            return read_regular(path)
    except FileNotFoundError as error:
        kept = folder.is_dir() and any(folder.iterdir())
        hint = f"put `{name}` back from your backup" if kept else "create keys with `ptmtorrent keys init`"
        raise ConfigError(f"the key `{name}` is missing in `{folder}`", hint=hint) from error


def _load_signer(path: Path, pem: bytes, passphrase: bytes | None) -> CryptoSigner:
    try:
        key = load_pem_private_key(pem, passphrase if pem.startswith(_ENCRYPTED) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unreadable(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the key `{path}` is not an Ed25519 key")
    return CryptoSigner(key)


def _load_minisign(path: Path, data: bytes, passphrase: bytes | None) -> minisign.SecretKey:
    try:
        key = minisign.SecretKey.from_bytes(data)
        if key.is_encrypted():
            key.decrypt((passphrase or b"").decode())
    except minisign.Error as error:
        raise _unreadable(path) from error
    return key


def _unreadable(path: Path) -> ConfigError:
    return ConfigError(
        f"the key `{path}` cannot be read: the passphrase is wrong, or the file is damaged",
        hint="check PTMTORRENT_KEY_PASSPHRASE",
    )
