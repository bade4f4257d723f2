"""The maintainer's keys: Ed25519 keys for the four TUF roles, and a minisign key pair.

::

    keys/                 0700
      root-1.pem          0600   PKCS8 PEM, encrypted if there is a passphrase; further ones `root-2.pem`, `root-3.pem`
      targets.pem         0600
      snapshot.pem        0600
      timestamp.pem       0600
      ROLE-KEYID.pem      0600   a key that a rotation made; KEYID is the start of its id
      ROLE-KEYID.signer   0600   a key elsewhere, by the URI that securesystemslib opens: hardware, a service, a file
      root.json           0600   the public root keys and their threshold, for the first root
      staged/N.root.json  0600   a next root that waits for signatures; no reader sees it
      minisign.key        0600   in the format of the minisign program, encrypted with the same passphrase
      minisign.pub        0644   for verification: `minisign -Vm release.json -p minisign.pub`

The folder is created by one rename. A key is never overwritten; which of the keys sign is what the root of the channel
says. Root keys may be kept elsewhere, on other media and with other persons: only a rotation needs them.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import minisign
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import Root

from ptmtorrent.disk.durable import disk_errors, disk_errors_but_missing, ensure_dir, read_regular, sync_dir, write_file
from ptmtorrent.errors import ConfigError, IntegrityError, UsageError
from ptmtorrent.model import canonical

ROLES = ("root", "targets", "snapshot", "timestamp")
MINISIGN_KEY = "minisign.key"
MINISIGN_PUBLIC = "minisign.pub"
ROOT_KEYS = "root.json"
STAGED = "staged"
MAX_ROOT_KEYS = 16
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_KEY_FILE = re.compile(r"(root|targets|snapshot|timestamp)(-[0-9a-f]+)?\.(pem|signer)")

Passphrase = Callable[[], bytes | None]


class RootKeys(canonical.Document, frozen=True, kw_only=True):
    """`root.json`: the public keys of the first root, by id, and how many of them must sign."""

    FORMAT: ClassVar[str] = "ptmtorrent/root-keys"

    keys: dict[str, str]
    threshold: int


class SignerFile(canonical.Document, frozen=True, kw_only=True):
    """`ROLE-KEYID.signer`: the URI of a key that is not in the folder, and its public part as TUF writes it."""

    FORMAT: ClassVar[str] = "ptmtorrent/signer"

    keyid: str
    keytype: str
    scheme: str
    public: str
    uri: str


@dataclass(frozen=True)
class Keys:
    """Keys in memory, ready to sign: the signers at hand by role, and the minisign secret key.

    The root signs only the first release, rotations and its own renewal, so its keys may be kept elsewhere; then
    `signers` lacks them. `first` is what the first root says of root keys; None: all at hand, one of which signs.
    """

    signers: Mapping[str, tuple[Signer, ...]]
    minisign: minisign.SecretKey
    first: RootKeys | None = None
    passphrase: bytes | None = field(default=None, repr=False)

    @property
    def minisign_public(self) -> bytes:
        """The public key in the format of the minisign program."""
        return bytes(self.minisign.get_public_key()) + b"\n"

    def of(self, *roots: Root) -> "Keys":
        """Return the keys that one of `roots` lists, those of the last one first; those for a next one do not sign."""
        newest_first = [select_signers(self.signers, root) for root in reversed(roots)]
        return replace(
            self,
            signers={
                role: tuple(dict.fromkeys(signer for found in newest_first for signer in found[role]))
                for role in self.signers
            },
        )

    def adding(self, role: str, signers: tuple[Signer, ...]) -> "Keys":
        """Return these keys and `signers` of `role`."""
        return replace(self, signers={**self.signers, role: (*self.signers.get(role, ()), *signers)})


def select_signers(signers: Mapping[str, tuple[Signer, ...]], root: Root) -> dict[str, tuple[Signer, ...]]:
    """Return the signers that `root` lists, by role."""
    listed = {role: root.roles[role].keyids for role in signers}
    return {
        role: tuple(signer for signer in found if signer.public_key.keyid in listed[role])
        for role, found in signers.items()
    }


def init_keys(folder: Path, passphrase: bytes | None, *, root_keys: int = 3, threshold: int = 2) -> None:
    """Create keys in `folder`, readable by their owner only; for `passphrase` None they are not encrypted.

    `threshold` of the `root_keys` keys of the root will have to sign a change of keys; one key signs for other roles.

    Raises:
        UsageError: there would be fewer root keys than signatures needed.
        ConfigError: `folder` is not empty, or the passphrase is empty or not UTF-8.
        StoreError: `folder` cannot be written.
    """
    if not 1 <= threshold <= root_keys <= MAX_ROOT_KEYS:
        raise UsageError(
            f"{threshold} signatures of {root_keys} root keys cannot be required",
            hint=f"give 1 to {MAX_ROOT_KEYS} keys, and a threshold that is not higher",
        )
    _refuse_existing(folder)
    files = _new_key_files(_check_passphrase(passphrase), root_keys, threshold)
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


def load_keys(folder: Path, passphrase: Passphrase, *, all_roles: bool = True) -> Keys:
    """Read the keys in `folder`; root keys may be missing. `passphrase` is called once, only for encrypted keys.

    For a change of keys, not `all_roles` need a key: one may be lost.

    Raises:
        ConfigError: a key is missing or damaged, or the passphrase is missing or wrong.
        StoreError: the folder cannot be read.
    """
    found = _key_files(folder)
    for role in ROLES[1:]:
        if all_roles and not found.get(role):
            _read(folder, f"{role}.pem")
    secret = _read(folder, MINISIGN_KEY)
    signers, entered = _load_signers(folder, found, passphrase)
    return Keys(
        signers=signers,
        minisign=_load_minisign(folder / MINISIGN_KEY, secret, entered),
        first=_read_root_keys(folder),
        passphrase=entered,
    )


def load_signers(folder: Path, passphrase: Passphrase) -> dict[str, tuple[Signer, ...]]:
    """Read what keys there are in `folder`, as those of a person who holds a root key and no other.

    Raises:
        ConfigError: there are none, one is damaged, or the passphrase is missing or wrong.
        StoreError: the folder cannot be read.
    """
    found = _key_files(folder)
    if not any(found.values()):
        raise ConfigError(f"`{folder}` has no keys", hint="put the root key that was given to you into this folder")
    return _load_signers(folder, found, passphrase)[0]


def roles_at_hand(folder: Path) -> list[str]:
    """Return the roles that have a key in `folder`.

    Raises:
        StoreError: the folder cannot be read.
    """
    return list(_key_files(folder))


def new_key(folder: Path, role: str, passphrase: bytes | None) -> CryptoSigner:
    """Create a further key of `role` in `folder`, durably, and return its signer; no root lists it yet.

    Raises:
        StoreError: it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    signer = CryptoSigner(key)
    path = folder / f"{role}-{signer.public_key.keyid[:12]}.pem"
    write_file(path, _pem(key, passphrase), mode=0o600)
    return signer


def add_signer(folder: Path, role: str, uri: str, public: Key) -> Signer:
    """Record a key of `role` that is elsewhere, at `uri`, and return its signer.

    Raises:
        ConfigError: securesystemslib cannot open it.
        StoreError: it cannot be recorded.
    """
    document = SignerFile(
        format=SignerFile.FORMAT,
        version=SignerFile.VERSION,
        requires=(),
        keyid=public.keyid,
        keytype=public.keytype,
        scheme=public.scheme,
        public=public.keyval["public"],
        uri=uri,
    )
    signer = _open_signer(document, None)
    write_file(folder / f"{role}-{public.keyid[:12]}.signer", canonical.encode(document), mode=0o600)
    return signer


def read_public_key(path: Path) -> SSlibKey:
    """Return the public key in a PEM file.

    Raises:
        ConfigError: the file is missing, or is not a public key.
    """
    try:
        return SSlibKey.from_crypto(load_pem_public_key(read_regular(path)))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"`{path}` is not a public key in PEM: {error}", hint="export it from the device") from error


def _new_key_files(passphrase: bytes | None, root_keys: int, threshold: int) -> dict[str, bytes]:
    names = ["root"] if root_keys == 1 else [f"root-{number}" for number in range(1, root_keys + 1)]
    made = {name: Ed25519PrivateKey.generate() for name in (*names, *ROLES[1:])}
    files = {f"{name}.pem": _pem(key, passphrase) for name, key in made.items()}
    public = [CryptoSigner(made[name]).public_key for name in names]
    document = RootKeys(
        format=RootKeys.FORMAT,
        version=RootKeys.VERSION,
        requires=(),
        keys={key.keyid: key.keyval["public"] for key in public},
        threshold=threshold,
    )
    files[ROOT_KEYS] = canonical.encode(document)
    pair = minisign.KeyPair.generate()
    if passphrase:
        pair.secret_key.encrypt(passphrase.decode())
    files[MINISIGN_KEY] = bytes(pair.secret_key) + b"\n"
    files[MINISIGN_PUBLIC] = bytes(pair.public_key) + b"\n"
    return files


def _pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _key_files(folder: Path) -> dict[str, list[str]]:
    """Return the names of the key files in `folder` by role, sorted."""
    found: dict[str, list[str]] = {}
    if folder.is_dir():
        with disk_errors(folder):
            names = sorted(path.name for path in folder.iterdir())
        for name in names:
            if match := _KEY_FILE.fullmatch(name):
                found.setdefault(match[1], []).append(name)
    return {role: found[role] for role in ROLES if role in found}


def _load_signers(
    folder: Path, found: Mapping[str, list[str]], passphrase: Passphrase
) -> tuple[dict[str, tuple[Signer, ...]], bytes | None]:
    files = {name: _read(folder, name) for names in found.values() for name in names}
    encrypted = any(data.startswith(_ENCRYPTED) for data in files.values())
    entered = _check_passphrase(_ask_passphrase(folder, passphrase)) if encrypted else None
    return {
        role: tuple(_load_signer(folder / name, files[name], entered) for name in names)
        for role, names in found.items()
    }, entered


def _read_root_keys(folder: Path) -> RootKeys | None:
    path = folder / ROOT_KEYS
    try:
        with disk_errors_but_missing(path):
            return canonical.decode(read_regular(path), RootKeys, name=str(path))
    except FileNotFoundError:
        return None
    except IntegrityError as error:
        raise ConfigError(error.message, hint="put it back from your backup") from error


def _open_signer(document: SignerFile, passphrase: bytes | None) -> Signer:
    public = Key.from_dict(
        document.keyid,
        {"keytype": document.keytype, "scheme": document.scheme, "keyval": {"public": document.public}},
    )
    try:
        return Signer.from_priv_key_uri(document.uri, public, lambda _: (passphrase or b"").decode())
    except Exception as error:  # signers of other projects raise what they like
        raise ConfigError(
            f"the key `{document.uri}` cannot be opened: {error}", hint="connect the device, or install its library"
        ) from error


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


def _load_signer(path: Path, pem: bytes, passphrase: bytes | None) -> Signer:
    if path.suffix == ".signer":
        try:
            return _open_signer(canonical.decode(pem, SignerFile, name=str(path)), passphrase)
        except IntegrityError as error:
            raise ConfigError(error.message, hint="put it back from your backup") from error
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
