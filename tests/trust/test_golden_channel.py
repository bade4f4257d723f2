"""The channel of `tests/golden/channel/`, written with fixed keys: any change of these bytes is a format change."""

import base64
import hashlib
from pathlib import Path

import minisign
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from ptmtorrent.trust.fingerprints import fingerprint
from ptmtorrent.trust.keys import ROLES, Keys
from tests.trust.channels import open_newest, publish

GOLDEN = Path(__file__).parents[1] / "golden" / "channel"
FINGERPRINT = "b3:27e233dd6cfae5c2124f81fd0bbf8aaa8d75a98cdcf384f09419fb8d1e7821b9"


def minisign_key(seed: bytes) -> minisign.SecretKey:
    """Return an unencrypted minisign secret key: algorithms, empty KDF, key id, key, checksum."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    body = b"ptm-test" + seed + public
    checksum = hashlib.blake2b(b"Ed" + body, digest_size=32).digest()
    return minisign.SecretKey.from_base64(base64.b64encode(b"Ed\0\0B2" + bytes(32 + 8 + 8) + body + checksum))


def fixed_keys() -> Keys:
    signers = {
        role: (CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)),)
        for number, role in enumerate(ROLES, start=1)
    }
    return Keys(signers=signers, minisign=minisign_key(bytes([5]) * 32))


def files(channel: Path) -> dict[str, bytes]:
    return {str(path.relative_to(channel)): path.read_bytes() for path in channel.rglob("*") if path.is_file()}


def test_the_same_keys_and_releases_write_the_golden_channel(tmp_path: Path) -> None:
    publish(tmp_path, fixed_keys(), "2026.11", 1)
    publish(tmp_path, fixed_keys(), "2026.12", 2)
    assert files(tmp_path) == files(GOLDEN)


def test_the_golden_channel_opens(tmp_path: Path) -> None:
    assert open_newest(GOLDEN, tmp_path).release.name == "2026.12"


def test_the_golden_channel_has_its_fingerprint() -> None:
    assert fingerprint(GOLDEN) == FINGERPRINT
