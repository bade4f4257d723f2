"""The key that signs statements about packages: ECDSA with P-256, because tools of model signing know no Ed25519.

::

    keys/
      attest.pem    0600   PKCS8 PEM, encrypted if there is a passphrase
      attest.pub    0644   PEM: `model_signing verify key --public_key attest.pub`

It is made when it is first needed, and signs nothing that a release depends on.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.signer import SSlibKey

from ptmtorrent.disk.durable import disk_errors, ensure_dir, read_regular, write_file
from ptmtorrent.errors import ConfigError

ATTEST_KEY = "attest.pem"
ATTEST_PUBLIC = "attest.pub"


class Attester:
    """The key in memory. `public` is the public key as PEM, `keyid` its id for securesystemslib."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = SSlibKey.from_crypto(key.public_key()).keyid

    @property
    def hint(self) -> str:
        """The SHA-256 of the public key, by which bundles name it."""
        return hashlib.sha256(self.public).hexdigest()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`."""
        return self._key.sign(data, ECDSA(SHA256()))


def load_attester(folder: Path, passphrase: Callable[[], bytes | None]) -> Attester:
    """Return the key in `folder`, which is made if there is none: encrypted if `passphrase` returns one.

    Raises:
        ConfigError: the key cannot be read, or is another kind of key.
        StoreError: the folder cannot be read or written.
    """
    path = folder / ATTEST_KEY
    entered = passphrase() or None
    if not path.exists():
        ensure_dir(folder)
        key = generate_private_key(SECP256R1())
        encryption = BestAvailableEncryption(entered) if entered else NoEncryption()
        write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), mode=0o600)
        write_file(folder / ATTEST_PUBLIC, Attester(key).public, mode=0o644)
        return Attester(key)
    with disk_errors(path):
        pem = read_regular(path)
    try:
        found: Any = load_pem_private_key(pem, entered if b"ENCRYPTED" in pem else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"the key `{path}` cannot be read: the passphrase is wrong, or the file is damaged",
            hint="check PTMTORRENT_KEY_PASSPHRASE",
        ) from error
    if not isinstance(found, EllipticCurvePrivateKey) or not isinstance(found.curve, SECP256R1):
        raise ConfigError(f"the key `{path}` is not an ECDSA key of the curve P-256")
    return Attester(found)
