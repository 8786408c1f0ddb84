"""Certificates: the given ones checked, the missing ones made and kept.

A self-signed pair for ``MAILNAME`` is made at first start. A second pair, which no client ever
sees, is how the mail store's own submissions are known to the MTA.
"""

from __future__ import annotations

import datetime as dt
import grp
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import PreflightError
from gatepost.model import Certificate, Home
from gatepost.run import rights
from gatepost.settings import Settings

if TYPE_CHECKING:
    from cryptography import x509

_OWN_DAYS = 3650
"""Nobody checks its chain, so its end must not surprise anybody."""


def shown(settings: Settings, home: Home) -> Certificate:
    """Return where the certificate that clients see is: the given files, or our own pair."""
    given = settings.tls
    if given.tls_cert_file and given.tls_key_file:
        return Certificate(given.tls_cert_file, given.tls_key_file)
    return Certificate(home.secrets / "tls.crt", home.secrets / "tls.key")


def relay_client(home: Home) -> Certificate:
    """Return where the mail store's client certificate is."""
    return Certificate(home.secrets / "relay-client.crt", home.secrets / "relay-client.key")


def problems(settings: Settings) -> list[str]:
    """Return what is wrong with the given certificate, a sentence each; none were given: none."""
    given = settings.tls
    if not (given.tls_cert_file and given.tls_key_file):
        return []
    try:
        certificate = _read(given.tls_cert_file, "TLS_CERT_FILE")
        certified = _certified(certificate, given.tls_cert_file)
        public = _read_key(given.tls_key_file)
    except PreflightError as error:
        return list(error.problems)
    found = []
    if certified != public:
        found.append(
            f'TLS_KEY_FILE: "{given.tls_key_file}" does not match the certificate in '
            f'"{given.tls_cert_file}". Give the key that the certificate was made for.'
        )
    if certificate.not_valid_after_utc < dt.datetime.now(dt.UTC):
        day = certificate.not_valid_after_utc.date()
        found.append(
            f'TLS_CERT_FILE: "{given.tls_cert_file}" has expired on {day}. '
            "Renew it, or unset both variables for a self-signed one."
        )
    return found


def make_missing(settings: Settings, home: Home, key_group: str | None = None) -> None:
    """Make the pairs that are ours and missing; one for another ``MAILNAME`` is made anew.

    `key_group` may read the relay client's key.
    """
    name = settings.mail.mailname
    if settings.tls.tls_cert_file is None:
        pair = shown(settings, home)
        if not _is_for(pair, name):
            _make(pair, name)
        os.close(rights.open_own(pair.key_file, os.O_RDONLY, 0o600))
    client = relay_client(home)
    if not _is_for(client, "gatepost-relay-client"):
        _make(client, "gatepost-relay-client", client=True)
    readers = key_group if os.geteuid() == 0 else None
    descriptor = rights.open_own(client.key_file, os.O_RDONLY, 0o640 if readers else 0o600)
    if readers:
        os.fchown(descriptor, -1, grp.getgrnam(readers).gr_gid)
    os.close(descriptor)


def fingerprint(file: Path) -> str:
    """Return the SHA-256 of a certificate as upper-case pairs joined by colons, as Postfix does."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  slow to import

    return _read(file, "certificate").fingerprint(hashes.SHA256()).hex(":").upper()


def _is_for(pair: Certificate, name: str) -> bool:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    if not (pair.cert_file.exists() and pair.key_file.exists()):
        return False
    try:
        certificate = _read(pair.cert_file, "")
        _read_key(pair.key_file)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (PreflightError, ValueError):  # a name is looked at when it is asked for
        return False
    return bool(names) and names[0].value == _common_name(name)


def _common_name(name: str) -> str:
    """Return a name cut to what a common name may have; clients look at the alternative name."""
    return name[:64]


def _make(pair: Certificate, name: str, *, client: bool = False) -> None:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(name))])
    now = dt.datetime.now(dt.UTC)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_OWN_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair.cert_file.parent.mkdir(parents=True, exist_ok=True)
    _write(
        pair.key_file,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        0o600,
    )
    _write(pair.cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write whole or not at all, with the mode from the first moment."""
    partial = path.with_name(path.name + ".new")
    descriptor = rights.open_own(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    partial.replace(path)


def _read(path: Path, variable: str) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise PreflightError(
            f'{variable}: "{path}" cannot be read: {error.strerror}. '
            "Give the path of a PEM file that root can read."
        ) from None
    except (ValueError, x509.InvalidVersion):
        raise PreflightError(
            f'{variable}: "{path}" holds no certificate. Give a PEM file that begins with '
            '"-----BEGIN CERTIFICATE-----", the server\'s own certificate first.'
        ) from None


def _certified(certificate: x509.Certificate, path: Path) -> bytes:
    """Return the public key that a certificate was made for."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm  # noqa: PLC0415

    try:
        return _public_bytes(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise PreflightError(
            f'TLS_CERT_FILE: "{path}" is for a kind of key that mail programs do not know. '
            "Give a certificate for an RSA or ECDSA key."
        ) from None


def _read_key(path: Path) -> bytes:
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" cannot be read: {error.strerror}. '
            "Give the path of a PEM file that root can read."
        ) from None
    except TypeError:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" is protected by a password, which nobody could type when the '
            f"server starts. Take it off: openssl pkey -in {path} -out NEW"
        ) from None
    except ValueError:
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" holds no private key. '
            'Give a PEM file that begins with "-----BEGIN PRIVATE KEY-----".'
        ) from None
    except (UnsupportedAlgorithm, InternalError):  # the latter for what OpenSSL stumbles over
        raise PreflightError(
            f'TLS_KEY_FILE: "{path}" is a kind of key that mail programs do not know. '
            "Give an RSA or ECDSA key."
        ) from None
    return _public_bytes(key.public_key())


def _public_bytes(key: object) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
