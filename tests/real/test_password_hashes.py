"""Dovecot itself says whether it can read the hashes."""

from __future__ import annotations

import subprocess

import pytest

from gatepost.accounts import passwords


def matches(made: str, password: str) -> bool:
    """Ask Dovecot whether a password matches a hash."""
    done = subprocess.run(
        ["doveadm", "pw", "-t", made, "-p", password],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode == 0 and "verified" in done.stdout


@pytest.mark.parametrize("password", ["correct horse", "Grüße 🐴", "quote ' \" $ %u \\"])
def test_dovecot_reads_our_hashes(password: str) -> None:
    """Nobody could log in."""
    made = passwords.hashed(password)
    assert matches(made, password)
    assert not matches(made, password + "x"), "the control: any password would do"


@pytest.mark.parametrize(
    "scheme", ["ARGON2I", "ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SSHA", "PBKDF2"]
)
def test_we_take_dovecots_hashes(scheme: str) -> None:
    """Hashes that Dovecot made would be refused by the import."""
    made = subprocess.run(
        ["doveadm", "pw", "-s", scheme, "-p", "secret"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.strip()
    assert passwords.check_hash(made) == made


def test_dovecot_knows_every_scheme_we_take() -> None:
    """An imported account could never log in."""
    done = subprocess.run(["doveadm", "pw", "-l"], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) >= passwords.SCHEMES
