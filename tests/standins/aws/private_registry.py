"""A registry that containers on this machine know by ECR's own name: HTTPS, and moto's login.

moto has no `/v2/`, and functions ask ECR by its name alone, on its only port. So a real registry listens there, on the
address of Docker's bridge, with a certificate of its own that the functions are told to trust.
"""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests import services
from tests.conditions import eventually
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD, REGION

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
LOGIN = ("AWS", f"{ACCOUNT}-auth-token")
"""What moto's ECR hands out."""
PORT = 443


@contextmanager
def private_registry(address: str, folder: Path) -> Iterator[Path]:
    """Its certificate, as a file, as long as the block runs. `address` is one of this machine's; the `folder` is empty.

    Raises OSError where the port is taken, or not to be had without root's rights."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, PORT))
    certificate = _certificate(address, folder)
    (folder / "htpasswd").write_text(HTPASSWD)
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f'http: {{addr: "{address}:{PORT}", tls: {{certificate: {certificate}, key: {folder / "key.pem"}}}}}\n'
        f"auth: {{htpasswd: {{realm: ECR, path: {folder / 'htpasswd'}}}}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        command = [services.program("docker-registry"), "serve", config]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        assert eventually(lambda: _listens(address) or process.poll() is not None, within=30)
        assert process.poll() is None, (folder / "registry.log").read_text()
        yield certificate
    finally:
        process.terminate()
        process.wait(30)


def _certificate(address: str, folder: Path) -> Path:
    """For a day, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a registry of Slipway's tests")])
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address(address))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(secret)
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "certificate.pem"


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, PORT)) == 0
