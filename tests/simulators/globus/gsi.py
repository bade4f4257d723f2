"""X.509 for GridFTP: an authority, a server that it vouches for, and a user whom the servers let in."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
POLICY = """access_id_CA X509 '/O=Example/CN={name}'
pos_rights globus CA:sign
cond_subjects globus '"/O=Example/*"'
"""


@dataclass
class Gsi:
    """What servers and clients find their credentials by: environments of processes."""

    servers: dict[str, str]
    client: dict[str, str]
    stranger: dict[str, str]


def make_gsi(folder: Path) -> Gsi:
    """Make everything in `folder`; the stranger's authority is one that the servers do not know."""
    trusted, elsewhere = folder / "trusted", folder / "elsewhere"
    for place, name in ((trusted, "Test CA"), (elsewhere, "Other CA")):
        _authority(place, name)
    _signed(trusted, folder / "host", "localhost")
    _signed(trusted, folder / "user", "user")
    _signed(elsewhere, folder / "stranger", "user")
    servers_id = NOBODY if os.geteuid() == 0 else os.geteuid()
    if os.geteuid() == 0:
        for file in (folder / "host.pem", folder / "host.key"):
            os.chown(file, NOBODY, NOBODY)
    gridmap = folder / "gridmap"
    gridmap.write_text(f'"/O=Example/CN=user" {pwd.getpwuid(servers_id).pw_name}\n')
    known = {"X509_CERT_DIR": str(trusted)}
    return Gsi(
        servers={**known, **_credential(folder / "host"), "GRIDMAP": str(gridmap)},
        client={**known, **_credential(folder / "user")},
        stranger={**known, **_credential(folder / "stranger")},
    )


def _credential(stem: Path) -> dict[str, str]:
    return {"X509_USER_CERT": f"{stem}.pem", "X509_USER_KEY": f"{stem}.key"}


def _authority(place: Path, name: str) -> None:
    place.mkdir(parents=True)
    _openssl(place, "req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/O=Example/CN={name}")
    number = _openssl(place, "x509", "-hash", "-noout", "-in", "ca.pem").strip()
    (place / f"{number}.0").write_bytes((place / "ca.pem").read_bytes())
    (place / f"{number}.signing_policy").write_text(POLICY.format(name=name))


def _signed(authority: Path, stem: Path, name: str) -> None:
    folder = stem.parent
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\nkeyUsage=digitalSignature,keyEncipherment\n")
    request = f"{stem}.csr"
    _openssl(folder, "req", *NEW_KEY, "-keyout", f"{stem}.key", "-out", request, "-subj", f"/O=Example/CN={name}")
    signer = ("-CA", authority / "ca.pem", "-CAkey", authority / "ca.key", "-CAcreateserial", "-days", "2")
    _openssl(folder, "x509", "-req", "-in", request, *signer, "-extfile", "extensions", "-out", f"{stem}.pem")
    Path(f"{stem}.key").chmod(0o400)


NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(folder: Path, *words: object) -> str:
    command = ["openssl", *map(str, words)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout
