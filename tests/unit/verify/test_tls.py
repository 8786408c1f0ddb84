"""Names in certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatepost.verify.checks.tls import covers, dns_names

KEY = ec.generate_private_key(ec.SECP256R1())


def made_for(*names: x509.GeneralName) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.org")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("mail.example.org", "mail.example.org", True),
        ("MAIL.example.org", "mail.Example.org", True),
        ("*.example.org", "mail.example.org", True),
        ("*.example.org", "a.mail.example.org", False),
        ("*.example.org", "example.org", False),
        ("*", "localhost", False),
        ("example.org", "mail.example.org", False),
        ("*.org", "mail.example.org", False),
        ("192.0.2.1", "192.0.2.1", False),
    ],
)
def test_a_name_is_covered_as_mail_programs_see_it(pattern: str, name: str, covered: bool) -> None:  # noqa: FBT001
    """A pass here and a warning in the mail program would be the worst of both."""
    assert covers(made_for(x509.DNSName(pattern)), name) is covered


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_is_covered_by_itself_only(address: str) -> None:
    """Whoever probes by address would be told of a name that nobody asked for."""
    name = x509.IPAddress(ipaddress.ip_address(address))
    assert covers(made_for(name), address)
    assert not covers(made_for(name), "192.0.2.2")
    assert not covers(made_for(x509.DNSName("mail.example.org")), address)


def test_a_common_name_covers_nothing() -> None:
    """Mail programs have not looked at it for years (RFC 9525 section 2)."""
    assert not covers(made_for(), "mail.example.org")
    assert dns_names(made_for()) == []


def test_a_name_that_cannot_be_read_covers_nothing() -> None:
    """One odd name of a stranger's certificate would end the whole proof."""
    odd = made_for(x509.DNSName("mail.example.org"))
    damaged = x509.load_der_x509_certificate(
        odd.public_bytes(serialization.Encoding.DER).replace(
            b"\x82\x10mail.example.org", b"\x82\x10mail.\xffxample.org"
        )
    )
    assert damaged != odd
    assert not covers(damaged, "mail.example.org")
    assert dns_names(damaged) == []
