"""TLS is there, with the right certificate and without its outdated versions."""

from __future__ import annotations

import ipaddress
import math
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from gatepost import x509_reading
from gatepost.errors import printable
from gatepost.model import Status
from gatepost.model.words import Detail, Logs, Text, Words, joined
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.sessions import any_certificate, conversation
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.remedies import UP
from gatepost.verify.targets import Approach, Target

_EXPECTED = "TLS 1.2 or newer only, with the certificate on disk, valid for MAILNAME"
_EXPECTED_WITHOUT_DISK = "TLS 1.2 or newer only, with a certificate valid for MAILNAME"
_EXPECTED_THERE = "TLS 1.2 or newer only, with a certificate of a known authority for {host}"
_BEHIND = "at the internal port, for the proxy in front is not Gatepost's"
_PATIENCE_SECONDS = 4.0
_SOON_DAYS = 14
"""Certificates are renewed a month before their end; with less left than this, renewal is stuck."""
_OUTDATED = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}

_WORST_FIRST = (Status.FAIL, Status.RISK, Status.NOT_PROVEN)


@dataclass(frozen=True, slots=True)
class _Flaw:
    kind: str
    observed: Words
    fix: Words
    status: Status = Status.FAIL


def tls(proof: Proof, target: Target) -> Outcome:
    """Shake hands as mail programs do, and as outdated ones would."""
    with conversation(
        target,
        deadline=proof.within(_PATIENCE_SECONDS),
        name=proof.helo,
        source=target.source,
        server_name=proof.vantage.host or "localhost",
    ) as session:
        served, version = session.wire.certificate, session.wire.tls_version
    try:
        certificate = x509_reading.from_der(served)
    except ValueError as error:
        return Outcome(
            Status.FAIL,
            _expected(proof),
            f"a certificate that cannot be read: {printable(str(error))}",
            fix="Have another one issued: mail programs may refuse this one, or not show its name.",
            kind="unreadable-certificate",
        )
    days = math.floor((certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86400)
    flaws = [
        *_not_on_disk(proof, certificate),
        *_wrong_name(proof, certificate),
        *_expiry(days),
        *_beginning(certificate),
        *_chain(proof, target, certificate),
    ]
    refused: list[str] = []
    untested: list[str] = []
    for name, old in _OUTDATED.items():
        accepted = _accepts(proof, target, old)
        if accepted:
            flaws.append(
                _Flaw(
                    "outdated-version",
                    f"{name} was accepted",
                    Text(
                        f"Demand TLS 1.2 in {target.bound.daemon}'s configuration; "
                        "what Gatepost writes does: ",
                        UP,
                    ),
                )
            )
        else:
            (untested if accepted is None else refused).append(name)
    facts = [
        *([_BEHIND] if target.approach is Approach.BEHIND else []),
        version,
        f"{days} days left",
        *([f"{' and '.join(refused)} refused"] if refused else []),
        *([f"{' and '.join(untested)} not tried: OpenSSL here lacks it"] if untested else []),
    ]
    witness = (
        f"certificate of {certificate.subject.rfc4514_string()}, issued by "
        f"{certificate.issuer.rfc4514_string()}, serial {certificate.serial_number:x}"
    )
    status = Status.PASS
    if flaws:
        status = min((flaw.status for flaw in flaws), key=_WORST_FIRST.index)
    return Outcome(
        status,
        _expected(proof),
        joined("; ", [*(flaw.observed for flaw in flaws), *facts]),
        witness=witness,
        fix=joined(" ", dict.fromkeys(flaw.fix for flaw in flaws if flaw.fix)),
        kind=" ".join(flaw.kind for flaw in flaws),
    )


def _expected(proof: Proof) -> str:
    if proof.vantage.host:
        return _EXPECTED_THERE.format(host=proof.vantage.host)
    return _EXPECTED if proof.certificate else _EXPECTED_WITHOUT_DISK


def _not_on_disk(proof: Proof, certificate: x509.Certificate) -> list[_Flaw]:
    if proof.certificate is None:
        return []
    file = proof.certificate.cert_file
    try:
        on_disk = x509_reading.from_pem(file.read_bytes())
    except (OSError, ValueError) as error:
        observed = f"{file} cannot be read: {error}"
        return [_Flaw("unreadable-file", observed, "Check TLS_CERT_FILE.")]
    if certificate != on_disk:
        return [
            _Flaw(
                "not-on-disk",
                f"not the certificate in {file} (serial {on_disk.serial_number:x})",
                Text(
                    "A running server shows a new certificate by itself, or its log says why not: ",
                    Logs("gatepost"),
                    "; ",
                    UP,
                    " says it too. If another server ends TLS in front of this one, let it pass "
                    "TLS on instead.",
                ),
            )
        ]
    return []


def _wrong_name(proof: Proof, certificate: x509.Certificate) -> list[_Flaw]:
    if covers(certificate, proof.mailname):
        return []
    names = dns_names(certificate)
    if _is_address(proof.mailname):
        return [_name_unknown(proof, names)]
    if proof.vantage.host:
        return [
            _Flaw(
                "wrong-name",
                f"made out for {', '.join(names) or 'no DNS name'}, not for {proof.mailname}",
                f"Set TLS_CERT_FILE to a certificate with the DNS name {proof.mailname}, or have "
                "mail programs use a name that is in it.",
            )
        ]
    return [
        _Flaw(
            "wrong-name",
            f"made out for {', '.join(names) or 'no DNS name'}, not for {proof.mailname}",
            f"Set TLS_CERT_FILE to a certificate with the DNS name {proof.mailname}, "
            "or MAILNAME to a name in it.",
        )
    ]


def _name_unknown(proof: Proof, names: list[str]) -> _Flaw:
    return _Flaw(
        "unknown-name",
        Text(
            f"made out for {', '.join(names) or 'no DNS name'}; whether mail programs use that "
            "name, ",
            Detail(proof.mailname),
            " does not tell: probe it by name",
        ),
        "",
        Status.NOT_PROVEN,
    )


def _expiry(days: int) -> list[_Flaw]:
    if days < 0:
        return [_Flaw("expired", "expired", Text("Renew the certificate, then: ", UP))]
    if days < _SOON_DAYS:
        fix = "Renew the certificate and see why it was not."
        return [_Flaw("expires-soon", "expires soon", fix, Status.RISK)]
    return []


def _beginning(certificate: x509.Certificate) -> list[_Flaw]:
    begins = certificate.not_valid_before_utc
    if begins <= datetime.now(UTC):
        return []
    return [
        _Flaw(
            "not-yet-valid",
            f"not valid before {begins:%Y-%m-%d %H:%M} UTC",
            "See whether this machine's clock is right: date -u",
        )
    ]


def _chain(proof: Proof, target: Target, certificate: x509.Certificate) -> list[_Flaw]:
    if certificate.issuer == certificate.subject:
        return [
            _Flaw(
                "self-signed",
                "self-signed",
                "Mail programs warn of it, and other servers cannot know it for yours. Set "
                "TLS_CERT_FILE and TLS_KEY_FILE to a certificate of an authority such as "
                "Let's Encrypt.",
                Status.RISK,
            )
        ]
    context = ssl.create_default_context()
    context.check_hostname = False
    try:
        with conversation(
            target,
            deadline=proof.within(_PATIENCE_SECONDS),
            name=proof.helo,
            source=target.source,
            context=context,
            server_name=proof.vantage.host or "localhost",
        ):
            return []
    except ProbeError as error:
        if error.trouble is not Trouble.TLS:
            raise
        return [
            _Flaw(
                "unknown-authority",
                Text("chain: ", error.observed),
                "Append the intermediate certificates to TLS_CERT_FILE. An authority of your own "
                "must be known to the machine that verify runs on: put it into "
                "/usr/local/share/ca-certificates and run update-ca-certificates.",
            )
        ]


# --- names ----------------------------------------------------------------------------------


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Tell whether a certificate is made out for a host name or an IP address (RFC 9525)."""
    verify = verify_certificate_ip_address if _is_address(name) else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, *x509_reading.UNREADABLE):
        return False
    return True


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names that a certificate says it is made out for, none when unreadable."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *x509_reading.UNREADABLE):
        return []
    return names.value.get_values_for_type(x509.DNSName)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# --- outdated versions ------------------------------------------------------------------------


def _accepts(proof: Proof, target: Target, version: ssl.TLSVersion) -> bool | None:
    """Try one outdated version; None when OpenSSL here cannot offer it, or nothing came back."""
    context = _only(version)
    if not _can_offer(context):
        return None
    try:
        with conversation(
            target,
            deadline=proof.within(_PATIENCE_SECONDS),
            name=proof.helo,
            source=target.source,
            context=context,
            server_name=proof.vantage.host or "localhost",
        ):
            return True
    except ProbeError as error:
        return False if error.trouble in {Trouble.TLS, Trouble.CLOSED} else None


def _only(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = any_certificate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # outdated on purpose
        context.minimum_version = version
        context.maximum_version = version
    # OpenSSL 3 signs nothing that these versions know at its usual security level.
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _can_offer(context: ssl.SSLContext) -> bool:
    """Tell whether OpenSSL here makes a ClientHello of this context."""
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.pending > 0
    except ssl.SSLError:
        return False
    return False
