"""Certificates read whole: the library reads names and dates only when they are asked for.

So one that is damaged there is found out where it is read, and not where it is used; what the
library raises then depends on the damage.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

UNREADABLE = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for damage, sooner or later."""


def from_der(content: bytes) -> x509.Certificate:
    """Return a certificate (RFC 5280); raise `ValueError` when any part that we use is damaged."""
    try:
        certificate = x509.load_der_x509_certificate(content)
        _ = (
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            certificate.subject,
            certificate.issuer,
        )
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    return certificate


def from_pem(content: bytes) -> x509.Certificate:
    """Return the first certificate of a PEM file; raise `ValueError` when it has none or worse."""
    try:
        first = x509.load_pem_x509_certificates(content)[0]
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    return from_der(first.public_bytes(Encoding.DER))
