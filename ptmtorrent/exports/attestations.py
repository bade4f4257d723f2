"""Statements of in-toto in envelopes of DSSE: bundles of OpenSSF Model Signing, and the captures of a release.

::

    {"payload": base64 of a statement, "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": ...}]}
    signed: "DSSEv1" SP length SP payloadType SP length SP payload

Sources: DSSE protocol 1.0.2, "PAE"; in-toto attestation framework, "Statement" v1; OpenSSF model signing
specification 1.0, "Signature format"; Sigstore bundle 0.3. Everything comes
from hashes that manifests have: no file is read.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ptmtorrent.model.manifest import LINK_MODE, FileEntry

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MODEL_SIGNING = "https://model_signing/signature/v1.0"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
CAPTURES = "urn:ptmtorrent:captures:1"
"""Type of the predicate of a release: what was captured of each package, from where, when, and what was found."""


class Signer(NamedTuple):
    """Signs bytes by ECDSA with P-256 and SHA-256; `hint` is the SHA-256 of the public key as PEM, in hex."""

    sign: Callable[[bytes], bytes]
    hint: str
    keyid: str


def pre_authentication_encoding(payload: bytes) -> bytes:
    """Return what DSSE signs of a payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(statement: Mapping[str, Any], signer: Signer, *, keyid: str = "") -> dict[str, Any]:
    """Return a signed statement."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = signer.sign(pre_authentication_encoding(payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }


def model_signing_bundle(name: str, files: Sequence[FileEntry], signer: Signer) -> bytes:
    """Return the bundle of OpenSSF Model Signing for the regular `files` of a package, which all have UTF-8 paths.

    It says that these bytes were captured, not who made them.
    """
    regular = sorted((file for file in files if file.mode != LINK_MODE), key=lambda file: file.name)
    root = hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in regular))
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": MODEL_SIGNING,
        "predicate": {
            "resources": [{"name": file.name, "digest": file.sha256, "algorithm": "sha256"} for file in regular],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
        },
    }
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": signer.hint}, "tlogEntries": []},
        "dsseEnvelope": envelope(statement, signer),
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def captures_envelope(release: Mapping[str, Any], packages: Iterable[Mapping[str, Any]], signer: Signer) -> bytes:
    """Return the signed statement on the `packages` of a release: where, when and as what each was captured.

    Each has a `package` and a `snapshot`, which are a subject of the statement, and what else is known of it.
    """
    listed = sorted(packages, key=lambda each: str(each["package"]))
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": each["package"], "digest": {"blake3": each["snapshot"]}} for each in listed],
        "predicateType": CAPTURES,
        "predicate": {"release": dict(release), "packages": listed},
    }
    return json.dumps(envelope(statement, signer, keyid=signer.keyid), separators=(",", ":")).encode()


def sums(files: Iterable[tuple[str, str]]) -> bytes:
    r"""Return a list of hashes and paths for `sha256sum` and `b3sum`; `\` and line ends are escaped as they do."""
    lines = []
    for digest, path in files:
        escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if escaped != path else ""
        lines.append(f"{mark}{digest}  {escaped}\n")
    return "".join(lines).encode()
