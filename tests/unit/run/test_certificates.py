"""Certificates: given ones checked, missing ones made and kept."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.errors import PreflightError
from gatepost.model import Home, KeyPair
from gatepost.registry import load
from gatepost.run import certificates
from gatepost.settings import Settings

TODAY = dt.datetime.now(dt.UTC)


def pair(
    folder: Path,
    name: str = "given",
    *,
    begins: int = -100,
    days: int = 30,
    password: bytes | None = None,
) -> tuple[Path, Path]:
    """Write a pair that begins and ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(TODAY + dt.timedelta(days=begins))
        .not_valid_after(TODAY + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return cert_file, key_file


def settings(cert_file: Path | None = None, key_file: Path | None = None) -> Settings:
    given = {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)} if cert_file else {}
    return load({"MAILNAME": "mx.example.org", **given})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- given ----------------------------------------------------------------------------------


def test_a_good_pair_has_no_problems(tmp_path: Path) -> None:
    """A server with a certificate that works would not start."""
    assert certificates.problems(settings(*pair(tmp_path))) == []


def test_none_given_is_no_problem() -> None:
    """A server without a certificate of its own would not start."""
    assert certificates.problems(settings()) == []


def test_another_certificates_key_is_told(tmp_path: Path) -> None:
    """After a renewal of only one file, each TLS connection would fail with riddles."""
    cert_file, _ = pair(tmp_path)
    _, other = pair(tmp_path, "other")
    (problem,) = certificates.problems(settings(cert_file, other))
    assert problem == (
        f'TLS_KEY_FILE: "{other}" does not match the certificate in "{cert_file}". '
        "Give the key that the certificate was made for."
    )


def test_an_expired_certificate_is_a_warning(tmp_path: Path) -> None:
    """After a reboot the server would stay down, and mail wait elsewhere, for a renewal missed."""
    given = settings(*pair(tmp_path, days=-2))
    assert certificates.problems(given) == []
    day = (TODAY - dt.timedelta(days=2)).date()
    (warning,) = certificates.warnings(given)
    assert warning.startswith(f'TLS_CERT_FILE: "{given.tls.tls_cert_file}" has expired on {day}: ')


def test_a_certificate_of_the_future_is_a_warning(tmp_path: Path) -> None:
    """A machine whose clock is wrong after a reboot would not start its server."""
    given = settings(*pair(tmp_path, begins=2))
    assert certificates.problems(given) == []
    (warning,) = certificates.warnings(given)
    assert "is not valid before" in warning
    assert "date -u" in warning


def test_a_certificate_in_its_time_is_no_warning(tmp_path: Path) -> None:
    """Warnings that always come are read by nobody."""
    assert certificates.warnings(settings(*pair(tmp_path))) == []
    assert certificates.warnings(settings()) == []


@pytest.mark.parametrize("variable", ["TLS_CERT_FILE", "TLS_KEY_FILE"])
def test_an_unreadable_file_is_told(tmp_path: Path, variable: str) -> None:
    """A misspelt path would end in a traceback."""
    cert_file, key_file = pair(tmp_path)
    missing = tmp_path / "missing.pem"
    given = (
        settings(missing, key_file) if variable == "TLS_CERT_FILE" else settings(cert_file, missing)
    )
    (problem,) = certificates.problems(given)
    assert problem == (
        f'{variable}: "{missing}" cannot be read: No such file or directory. '
        "Give the path of a PEM file that root can read."
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_told(tmp_path: Path, content: bytes) -> None:
    """A file in another format, such as DER, would end in a traceback."""
    cert_file, key_file = pair(tmp_path)
    cert_file.write_bytes(content)
    (problem,) = certificates.problems(settings(cert_file, key_file))
    assert problem == (
        f'TLS_CERT_FILE: "{cert_file}" holds no certificate. Give a PEM file that begins with '
        '"-----BEGIN CERTIFICATE-----", the server\'s own certificate first.'
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_told(tmp_path: Path, content: bytes) -> None:
    """The two files given the wrong way round would end in a traceback."""
    cert_file, key_file = pair(tmp_path)
    key_file.write_bytes(content)
    (problem,) = certificates.problems(settings(cert_file, key_file))
    assert problem == (
        f'TLS_KEY_FILE: "{key_file}" holds no private key. '
        'Give a PEM file that begins with "-----BEGIN PRIVATE KEY-----".'
    )


def test_a_key_with_a_password_is_told(tmp_path: Path) -> None:
    """The daemons would wait at each start for somebody to type it."""
    cert_file, key_file = pair(tmp_path, password=b"secret")
    (problem,) = certificates.problems(settings(cert_file, key_file))
    assert problem == (
        f'TLS_KEY_FILE: "{key_file}" is protected by a password, which nobody could type when the '
        f"server starts. Take it off: openssl pkey -in {key_file} -out NEW"
    )


def test_the_given_pair_is_shown_and_none_made(tmp_path: Path, home: Home) -> None:
    """The bought certificate, which need not name the host, would be overwritten by our own."""
    cert_file, key_file = pair(tmp_path)
    given = load(
        {
            "MAILNAME": "other.example.org",
            "TLS_CERT_FILE": str(cert_file),
            "TLS_KEY_FILE": str(key_file),
        }
    )
    before = cert_file.read_bytes()
    certificates.make_missing(given, home)
    assert certificates.shown(given, home).cert_file == cert_file
    assert certificates.shown(given, home).key_file == key_file
    assert cert_file.read_bytes() == before
    assert not (home.secrets / "tls.crt").exists()


# --- our own --------------------------------------------------------------------------------


RELAY = KeyPair("relay", "a relay")


def contents(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.secrets.iterdir()}


@pytest.mark.parametrize("name", ["mx.example.org", f"{'a' * 60}.{'b' * 60}.example.org"])
def test_our_own_pair_is_made_once_and_kept(home: Home, name: str) -> None:
    """Every mail program would ask its user about a new certificate at each start."""
    given = load({"MAILNAME": name})
    certificates.make_missing(given, home)
    certificates.make_pair(RELAY, home)
    first = contents(home)
    assert sorted(first) == ["relay.crt", "relay.key", "tls.crt", "tls.key"]
    certificates.make_missing(given, home)
    certificates.make_pair(RELAY, home)
    assert contents(home) == first


def test_another_name_gets_another_certificate(home: Home) -> None:
    """After a change of MAILNAME, clients would be shown the old name; the relay's key stays."""
    certificates.make_missing(load({"MAILNAME": "one.example.org"}), home)
    certificates.make_pair(RELAY, home)
    first = contents(home)
    certificates.make_missing(load({"MAILNAME": "two.example.org"}), home)
    certificates.make_pair(RELAY, home)
    second = contents(home)
    assert second["tls.crt"] != first["tls.crt"]
    assert second["relay.crt"] == first["relay.crt"]
    assert second["relay.key"] == first["relay.key"]


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("damage", [b"", None])
def test_half_a_pair_is_made_anew(home: Home, name: str, damage: bytes | None) -> None:
    """After a full disk or a deleted file the server could never start again."""
    certificates.make_missing(settings(), home)
    before = (home.secrets / "tls.crt").read_bytes()
    (home.secrets / name).unlink()
    if damage is not None:
        (home.secrets / name).write_bytes(damage)
    certificates.make_missing(settings(), home)
    assert (home.secrets / "tls.crt").read_bytes() != before
    shown = certificates.shown(settings(), home)
    assert certificates.problems(settings(shown.cert_file, shown.key_file)) == []


def test_our_own_pair_is_for_the_name_and_lasts(home: Home) -> None:
    """Mail programs would refuse a certificate without the server's name among its names."""
    certificates.make_missing(settings(), home)
    found = x509.load_pem_x509_certificate((home.secrets / "tls.crt").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mx.example.org"]
    assert found.not_valid_before_utc < TODAY
    assert found.not_valid_after_utc > TODAY + dt.timedelta(days=3000)


def test_each_pair_has_its_use(home: Home) -> None:
    """Postfix would refuse the mail store's submissions: their certificate is not a client's."""
    certificates.make_missing(settings(), home)
    certificates.make_pair(RELAY, home)
    for name, usage in [
        ("tls.crt", ExtendedKeyUsageOID.SERVER_AUTH),
        ("relay.crt", ExtendedKeyUsageOID.CLIENT_AUTH),
    ]:
        found = x509.load_pem_x509_certificate((home.secrets / name).read_bytes())
        extension = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(extension.value) == [usage]


def test_keys_are_closed_to_others(home: Home) -> None:
    """Any user of the machine could pose as the server."""
    certificates.make_missing(settings(), home)
    certificates.make_pair(RELAY, home)
    assert mode(home.secrets / "tls.key") == 0o600
    assert mode(home.secrets / "relay.key") == 0o600
    assert mode(home.secrets / "tls.crt") & 0o044


def test_a_fingerprint_is_written_as_postfix_does(tmp_path: Path) -> None:
    """Postfix would not know the mail store's submissions, and refuse Sieve's mail."""
    cert_file, _ = pair(tmp_path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert_file.read_text())).hexdigest().upper()
    found = certificates.fingerprint(cert_file)
    assert found.replace(":", "") == digest
    assert [len(part) for part in found.split(":")] == [2] * 32


def test_a_fingerprint_of_nothing_is_refused(tmp_path: Path) -> None:
    """A missing file would end in a traceback."""
    with pytest.raises(PreflightError, match="cannot be read: No such file"):
        certificates.fingerprint(tmp_path / "none.crt")


SM2 = Path(__file__).parents[3] / "fuzz" / "corpus" / "certificates" / "sm2"


def test_a_key_of_a_kind_that_nobody_knows_is_told(tmp_path: Path) -> None:
    """A certificate for another country's curve would end in a traceback."""
    _, key_file = pair(tmp_path)
    (problem,) = certificates.problems(settings(SM2, key_file))
    assert problem.startswith(f'TLS_CERT_FILE: "{SM2}" is for a kind of key')


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    """One wrong byte inside the armour, such as another curve's mark, would be a traceback."""
    cert_file, key_file = pair(tmp_path)
    key = ed25519.Ed25519PrivateKey.generate()
    whole = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for place in range(len(whole)):
        for bit in (1, 8):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            armoured = base64.encodebytes(damaged).decode()
            key_file.write_text(
                f"-----BEGIN PRIVATE KEY-----\n{armoured}-----END PRIVATE KEY-----\n"
            )
            (problem,) = certificates.problems(settings(cert_file, key_file))
            assert problem.startswith("TLS_KEY_FILE: ")


def test_a_damaged_certificate_is_told(tmp_path: Path) -> None:
    """One wrong byte inside the armour would end in a traceback."""
    cert_file, key_file = pair(tmp_path)
    whole = ssl.PEM_cert_to_DER_cert(cert_file.read_text())
    for place in range(0, min(len(whole), 120), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x08
        cert_file.write_text(ssl.DER_cert_to_PEM_cert(bytes(damaged)))
        for problem in certificates.problems(settings(cert_file, key_file)):
            assert problem.startswith(("TLS_CERT_FILE: ", "TLS_KEY_FILE: "))


def test_our_own_damaged_certificate_is_made_anew(tmp_path: Path) -> None:
    """A disk's error in it would keep the server from starting for ever."""
    home = Home(tmp_path)
    certificates.make_missing(settings(), home)
    shown = certificates.shown(settings(), home)
    whole = ssl.PEM_cert_to_DER_cert(shown.cert_file.read_text())
    for place in range(0, min(len(whole), 120), 9):
        damaged = bytearray(whole)
        damaged[place] ^= 0x08
        shown.cert_file.write_text(ssl.DER_cert_to_PEM_cert(bytes(damaged)))
        certificates.make_missing(settings(), home)
        assert len(certificates.fingerprint(shown.cert_file)) == 95
