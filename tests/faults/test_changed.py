"""The server is restarted, changed and left with an expired certificate while mail comes in."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from instance import Instance

from faults import AT_ONCE, Ordeal, server_for_ordeals

Tell = Callable[[str, object], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that this module may change."""
    with server_for_ordeals() as made:
        yield made


def test_nothing_is_lost_by_a_restart(server: Instance, seed: int, record_property: Tell) -> None:
    """After an upgrade some messages would be missing."""
    ordeal = Ordeal.of(server, seed)
    with ordeal.load.running():
        ordeal.wait(1, 3)
        server.down()
        ordeal.wait(0, 2)
        begun = time.monotonic()
        server.up()
        ordeal.recover("down, from up on", begun)
        ordeal.wait(0.5, 1.5)
    ordeal.settle_and_tell(record_property, duplicates=AT_ONCE)


def test_nothing_is_lost_by_a_change(server: Instance, seed: int, record_property: Tell) -> None:
    """A limit that is changed at noon would cost the messages of that second.

    Each change reaches other services: the gate, Postfix, Dovecot, Traefik, one after the other.
    """
    ordeal = Ordeal.of(server, seed)
    changes = {
        "MTA_PROXY_HEADER_SECONDS": str(ordeal.chance.randint(5, 40)),
        "MESSAGE_SIZE_LIMIT": f"{ordeal.chance.randint(2, 40)}M",
        "RECIPIENT_DELIMITER": ordeal.chance.choice(["+", "-", "+-"]),
        "PUBLIC_BIND_ADDRESS": server.addresses.public,
    }
    with ordeal.load.running():
        try:
            for name in ordeal.chance.sample(sorted(changes), len(changes)):
                ordeal.wait(0.2, 1)
                server.settings[name] = changes[name]
                server.up()
                ordeal.recover(f"change {name}")
        finally:
            for name in changes:
                server.settings.pop(name, None)
            server.up()
    figures = ordeal.settle_and_tell(record_property, duplicates=AT_ONCE)
    assert figures.accepted, figures


def test_mail_flows_with_an_expired_certificate(
    server: Instance, seed: int, record_property: Tell, tmp_path: Path
) -> None:
    """Mail from other servers would stop on the day that nobody has renewed the certificate.

    Those servers do not look at it; mail programs do, so `gatepost verify` says it.
    """
    ordeal = Ordeal.of(server, seed)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    ends = make_certificate(cert, key, seconds=20 + ordeal.chance.uniform(0, 2))
    server.settings |= {"TLS_CERT_FILE": str(cert), "TLS_KEY_FILE": str(key)}
    try:
        server.up()
        with ordeal.load.running():
            time.sleep(max(0, ends - time.time()) + 1.5)
            accepted = len(ordeal.load.accepted)
            ordeal.recover("certificate expired")
            ordeal.wait(1, 2)
            assert len(ordeal.load.accepted) > accepted + 5
            assert server.status()["ready"]
        proof = server.run("verify", "--json", timeout=120)
        found = [f for f in json.loads(proof.stdout)["findings"] if "expired" in str(f)]
        assert found, proof.stdout[-3000:]
        assert all(row["status"] in {"fail", "risk"} and row["fix"] for row in found)
        # A machine that boots on that day starts its server all the same.
        server.down()
        begun = time.monotonic()
        started = server.run("up", "--detach", timeout=90)
        assert started.returncode == 0, started
        assert "TLS_CERT_FILE" in started.stderr
        assert "expired" in started.stderr
        ordeal.recover("up with an expired certificate", begun)
    finally:
        del server.settings["TLS_CERT_FILE"], server.settings["TLS_KEY_FILE"]
        server.up()
    ordeal.settle_and_tell(record_property, duplicates=AT_ONCE)


def make_certificate(cert: Path, key: Path, *, seconds: float) -> float:
    """Make a pair that is valid for some seconds; return when it expires."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.org")])
    host = x509.DNSName("mail.example.org")
    now = dt.datetime.now(dt.UTC)
    ends = now + dt.timedelta(seconds=seconds)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=90))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ends.timestamp()
