"""Certificates for tests, signed by one another, and the volume of a Secret that holds them."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    @property
    def serial(self) -> int:
        """What tells it from others of the same name."""
        return self.certificate.serial_number

    def write(self, folder: Path, *above: Issued) -> tuple[Path, Path]:
        """Write a chain and its key as certbot names them; return both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        cert_file, key_file = folder / "fullchain.pem", folder / "privkey.pem"
        cert_file.write_text("".join(one.pem for one in (self, *above)))
        key_file.write_text(self.key_pem)
        key_file.chmod(0o600)
        return cert_file, key_file


def issue(
    name: str,
    by: Issued | None = None,
    *,
    days: int = 30,
    authority: bool = False,
    key: Key | None = None,
) -> Issued:
    """Issue a certificate for a name, signed by another one or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=100))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, critical=False)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


class Secret:
    """A mounted Secret as the kubelet renews it: one link is turned, and all files are others."""

    def __init__(self, folder: Path) -> None:
        """Begin with a pair."""
        self.folder = folder
        folder.mkdir()
        self._number = 0
        self.issued = self.renew()
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def renew(self) -> Issued:
        """Issue another pair and turn the link to it; what was there before is removed."""
        self._number += 1
        self.issued = issue("mail.example.org")
        new = self.folder / f"..{self._number}"
        new.mkdir()
        (new / "tls.crt").write_text(self.issued.pem)
        (new / "tls.key").write_text(self.issued.key_pem)
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").replace(self.folder / "..data")
        if self._number > 1:
            shutil.rmtree(self.folder / f"..{self._number - 1}")
        return self.issued


def of_bits(issued: Issued, *, names: int = 0) -> str:
    """Return a certificate in PEM whose common names are bit strings instead of text.

    `names` of them are changed, the issuer's first; 0 is all.

    OpenSSL loads and serves it; Python's library stumbles when it is asked for the names.
    """
    der = issued.certificate.public_bytes(serialization.Encoding.DER)
    # The first byte of a bit string says how many bits of its last byte do not count.
    changed = re.sub(
        rb"(\x06\x03\x55\x04\x03)\x0c(.).", b"\\1\x03\\2\x00", der, count=names, flags=re.DOTALL
    )
    assert changed != der
    return ssl.DER_cert_to_PEM_cert(changed)
