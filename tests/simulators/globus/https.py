"""A collection's HTTPS server: nginx with a certificate of a test authority; it asks the service who may read what."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.simulators.globus.gridftp import program
from tests.simulators.nginx import free_port, wait_for_port

CONFIG = """
{user}
daemon off;
worker_processes 1;
error_log {work}/error.log;
pid {work}/nginx.pid;
events {{ worker_connections 128; }}
http {{
  access_log {work}/access.log;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; listen 127.0.0.1:{browsers} ssl;
    ssl_certificate {work}/server.pem; ssl_certificate_key {work}/server.key;
    location / {{ auth_request /_auth; error_page 401 = @refused; root {folder}; }}
    location @refused {{
      set $page https://localhost:{port}/v2/oauth2/authorize;
      if ($server_port = {browsers}) {{ return 302 $page?client_id={collection}; }}
      return 401;
    }}
    location = /_auth {{
      internal; proxy_pass {service}/_https/{collection};
      proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Original-URI $request_uri;
    }}
  }}
}}
"""


@contextmanager
def https_server(work: Path, folder: Path, service: str, collection: str) -> Iterator[tuple[str, str]]:
    """Serve `folder` as `collection`; yields two `HOST:PORT`, the second sends who is unknown to a login page.

    The authority's certificate is `ca.pem` in `work`.
    """
    work.mkdir()
    write_certificates(work)
    port, browsers = free_port(), free_port()
    config = work / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(
        CONFIG.format(
            user=user,
            work=work,
            port=port,
            browsers=browsers,
            folder=folder,
            service=service,
            collection=collection,
        )
    )
    nginx = program("nginx")
    assert nginx is not None
    process = subprocess.Popen([nginx, "-p", str(work), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield f"localhost:{port}", f"localhost:{browsers}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def write_certificates(work: Path) -> None:
    """Write an authority's certificate and one of its for `localhost`."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    _write_pem(work / "ca.pem", _certificate(issuer, issuer, authority, authority, authority=True))
    _write_pem(work / "server.pem", _certificate(subject, issuer, server, authority, authority=False))
    key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (work / "server.key").write_bytes(key)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    moment = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _write_pem(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
