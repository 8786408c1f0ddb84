"""Certificates: the given ones checked, the missing ones made and kept.

A self-signed pair for ``MAILNAME`` is made at the first start, and a pair for each plug-in that
needs one, which only other daemons see.
"""

from __future__ import annotations

import datetime as dt
import grp
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import PreflightError
from gatepost.model import Certificate, Home, KeyPair, Part
from gatepost.run import copies, pairs, rights
from gatepost.settings import Settings

if TYPE_CHECKING:
    from cryptography import x509

_OWN_DAYS = 3650
"""Days that our own pairs last. Their chain is not checked, so they must not expire unnoticed."""


def shown(settings: Settings, home: Home) -> Certificate:
    """Return where the certificate that clients see is: the given files, or our own pair."""
    given = settings.tls
    if given.tls_cert_file and given.tls_key_file:
        return Certificate(given.tls_cert_file, given.tls_key_file)
    return Certificate(home.secrets / "tls.crt", home.secrets / "tls.key")


def files_of(secret: KeyPair, home: Home) -> Certificate:
    """Return where a plug-in's pair is."""
    return Certificate(home.secrets / f"{secret.name}.crt", home.secrets / f"{secret.name}.key")


def problems(settings: Settings) -> list[str]:
    """Return why the given certificate would not serve, a sentence each; none were given: none."""
    try:
        _given(settings)
    except PreflightError as error:
        return list(error.problems)
    return []


def warnings(settings: Settings) -> list[str]:
    """Return what is wrong with the given certificate though it serves, a sentence each."""
    try:
        loaded = _given(settings)
    except PreflightError:
        return []
    now = dt.datetime.now(dt.UTC)
    found = []
    for number, certificate in enumerate(loaded.certificates if loaded else (), start=1):
        which = f'"{settings.tls.tls_cert_file}"' + (f", certificate {number}," * (number > 1))
        if certificate.not_valid_after_utc < now:
            found.append(
                f"TLS_CERT_FILE: {which} has expired on {certificate.not_valid_after_utc.date()}: "
                "mail programs refuse it, and so do other servers that check certificates. Renew "
                "it; a server that runs shows the new one by itself."
            )
        elif certificate.not_valid_before_utc > now:
            found.append(
                f"TLS_CERT_FILE: {which} is not valid before "
                f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: mail programs refuse it "
                "until then, and so do other servers that check certificates. See whether this "
                "machine's clock is right: date -u"
            )
    return found


def authority_problems(settings: Settings) -> list[str]:
    """Return why the certificates of the database's authority are none; none were given: none."""
    path = settings.database.db_tls_ca_file
    if path is None:
        return []
    try:
        copies.copy(Part.AUTHORITY, path)
    except PreflightError as error:
        return list(error.problems)
    return []


def _given(settings: Settings) -> pairs.Loaded | None:
    """Return the given pair, None without one; raise `PreflightError` when it would not serve."""
    cert_file, key_file = settings.tls.tls_cert_file, settings.tls.tls_key_file
    if not (cert_file and key_file):
        return None
    cert, key = copies.read(Part.CHAIN, (cert_file, key_file))
    return pairs.judge(cert_file, cert, key_file, key)


def make_missing(settings: Settings, home: Home) -> None:
    """Make the pair that clients see when none is given; replace one for another ``MAILNAME``."""
    name = settings.mail.mailname
    if settings.tls.tls_cert_file is None:
        pair = shown(settings, home)
        if not _is_for(pair, name):
            _make(pair, name)
        os.close(rights.open_own(pair.key_file, os.O_RDONLY, 0o600))


def make_pair(secret: KeyPair, home: Home) -> None:
    """Make a plug-in's pair when it is missing, and let its reader read the key."""
    pair = files_of(secret, home)
    if not _is_for(pair, secret.common_name):
        _make(pair, secret.common_name, client=True)
    reader = secret.reader if os.geteuid() == 0 else ""
    descriptor = rights.open_own(pair.key_file, os.O_RDONLY, 0o640 if reader else 0o600)
    if reader:
        os.fchown(descriptor, -1, grp.getgrnam(reader).gr_gid)
    os.close(descriptor)


def fingerprint(file: Path) -> str:
    """Return the SHA-256 of a certificate: upper-case pairs joined by colons, as an MTA logs it."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  slow to import

    return _read(file, "certificate").fingerprint(hashes.SHA256()).hex(":").upper()


def _is_for(pair: Certificate, name: str) -> bool:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    if not (pair.cert_file.exists() and pair.key_file.exists()):
        return False
    try:
        certificate = _read(pair.cert_file, "")
        pairs.public_half(pair.key_file, pairs.read(pair.key_file, ""))
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except PreflightError:
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
    """Write the complete file or nothing, with the mode from the first moment."""
    partial = path.with_name(path.name + ".new")
    descriptor = rights.open_own(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    partial.replace(path)


def _read(path: Path, variable: str) -> x509.Certificate:
    from gatepost import x509_reading  # noqa: PLC0415

    try:
        return x509_reading.from_pem(pairs.read(path, variable))
    except ValueError:
        raise PreflightError(
            f'{variable}: "{path}" holds no certificate. Give a PEM file that begins with '
            '"-----BEGIN CERTIFICATE-----", the server\'s own certificate first.'
        ) from None
