"""Verifies the signature of a commit with public keys that the user has, by `gpg` or `ssh-keygen`.

A commit is signed without its header `gpgsig`. Source: git, "signature-format"; `ssh-keygen`, "-Y verify".
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from ptmtorrent.disk.durable import disk_errors, read_regular
from ptmtorrent.errors import ConfigError, IntegrityError

MAX_KEYS_BYTES = 4 << 20
_SECONDS = 60.0
_HEADER = b"gpgsig "
_SSH = b"-----BEGIN SSH SIGNATURE-----"
_SSH_KINDS = (b"ssh-", b"ecdsa-", b"sk-")


class Signed(NamedTuple):
    """What is signed of a commit, its signature, and what made it."""

    payload: bytes
    signature: bytes
    kind: Literal["PGP", "SSH"]


def signature_of(commit: bytes) -> Signed | None:
    """Return the signature in the body of a commit object; None if it has none."""
    head, blank, message = commit.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    inside = False
    for line in head.split(b"\n"):
        if line.startswith(_HEADER):
            inside = True
            signature.append(line.removeprefix(_HEADER))
        elif inside and line.startswith(b" "):
            signature.append(line[1:])
        else:
            inside = False
            kept.append(line)
    if not signature:
        return None
    text = b"\n".join(signature) + b"\n"
    return Signed(b"\n".join(kept) + blank + message, text, "SSH" if text.startswith(_SSH) else "PGP")


def verify_signature(signed: Signed, keys: Path) -> None:
    """Check the signature with the public keys in a file: armoured PGP keys, or SSH keys, one a line.

    Raises:
        IntegrityError: none of the keys made it.
        ConfigError: the file has no keys of the kind of the signature, or the program for it is not installed.
        StoreError: the file cannot be read.
    """
    with disk_errors(keys):
        known = read_regular(keys)
    if len(known) > MAX_KEYS_BYTES:
        raise ConfigError(f"`{keys}` is longer than keys are", hint="give a file of public keys")
    with tempfile.TemporaryDirectory(prefix="ptmtorrent-") as folder:
        place = Path(folder)
        (place / "signature").write_bytes(signed.signature)
        (place / "payload").write_bytes(signed.payload)
        try:
            done = _verify_ssh(signed, known, place) if signed.kind == "SSH" else _verify_pgp(known, place)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"the {signed.kind} signature cannot be verified: {error}") from error
    if done is None:
        raise ConfigError(f"`{keys}` has no {signed.kind} public key", hint="give the keys of those who sign upstream")
    if done.returncode:
        raise IntegrityError(f"its commit has a {signed.kind} signature that no key in `{keys}` made")


def _verify_ssh(signed: Signed, known: bytes, place: Path) -> "subprocess.CompletedProcess[bytes] | None":
    lines = [line.strip() for line in known.splitlines() if line.strip().startswith(_SSH_KINDS)]
    if not lines:
        return None
    (place / "allowed").write_bytes(b"".join(b'signer namespaces="git" %s\n' % line for line in lines))
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "signer", "-n", "git", "-s", "signature"]
    return subprocess.run(command, cwd=place, input=signed.payload, capture_output=True, check=False, timeout=_SECONDS)


def _verify_pgp(known: bytes, place: Path) -> "subprocess.CompletedProcess[bytes] | None":
    if b"BEGIN PGP PUBLIC KEY BLOCK" not in known:
        return None
    base = ["gpg", "--homedir", str(place), "--batch", "--no-autostart", "--quiet"]
    subprocess.run([*base, "--import"], input=known, capture_output=True, check=False, timeout=_SECONDS)
    return subprocess.run(
        [*base, "--verify", "signature", "payload"], cwd=place, capture_output=True, check=False, timeout=_SECONDS
    )
