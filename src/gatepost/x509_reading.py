"""Certificates, read completely: the library itself reads names and dates on demand only.

A certificate with damaged names is refused where it is read, and not where it is used. The
library's errors depend on the damage; here they are one.
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
"""The library's errors for a damaged certificate."""


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
    """Return the first certificate of a PEM file; raise `ValueError` if there is none."""
    try:
        first = x509.load_pem_x509_certificates(content)[0]
    except UNREADABLE as error:
        raise ValueError(str(error)) from None
    return from_der(first.public_bytes(Encoding.DER))
