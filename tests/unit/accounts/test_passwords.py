"""Hashes that Dovecot can read, and none else."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher, extract_parameters

from gatepost.accounts import passwords
from gatepost.errors import AccountError

GOOD = [
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$" + "A" * 22 + "$" + "b" * 43,
    "{BLF-CRYPT}$2y$05$" + "a" * 53,
    "{SHA512-CRYPT}$6$rounds=5000$salt$" + "x" * 86,
    "{sha256-crypt}$5$salt$" + "x" * 43,
    "{MD5-CRYPT}$1$salt$" + "x" * 22,
    "{CRYPT}$y$j9T$salt$hash",
    "{SSHA256.HEX}00ff",
    "{SCRAM-SHA-256}4096,salt,key,key",
    "{PBKDF2}$1$salt$5000$hash",
]


def test_a_hash_is_argon2id_and_matches() -> None:
    """Nobody could log in, or a stolen database would be cracked in no time."""
    made = passwords.hashed("correct horse")
    assert made.startswith("{ARGON2ID}$argon2id$")
    bare = made.removeprefix("{ARGON2ID}")
    assert PasswordHasher().verify(bare, "correct horse")
    assert passwords.hashed("correct horse") != made, "the salt is missing"
    assert passwords.check_hash(made) == made


def test_a_hash_fits_into_an_auth_worker() -> None:
    """Many who log in at once would wait for memory; with less work a thief would not."""
    parameters = extract_parameters(passwords.hashed("x").removeprefix("{ARGON2ID}"))
    assert parameters.memory_cost == 7 * 1024
    assert (parameters.time_cost, parameters.parallelism) == (5, 1)


@pytest.mark.parametrize("password", ["", "two\nlines", "nul\0", "x" * 1025])
def test_a_password_that_cannot_be_typed_is_refused(password: str) -> None:
    """A script's mistake would lock the owner out."""
    with pytest.raises(AccountError) as error:
        passwords.hashed(password)
    assert not password or password not in str(error.value)


@pytest.mark.parametrize("text", GOOD)
def test_hashes_of_dovecot_are_taken(text: str) -> None:
    """Nobody could move to Gatepost without new passwords for everyone."""
    assert passwords.check_hash(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$6$salt$" + "x" * 86,
        "{SHA512-CRYPT}",
        "{SHA512-CRYPT}$6$salt$tooshort",
        "{ARGON2ID}$2y$05$" + "a" * 53,
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$AAAA",
        "{BLF-CRYPT}",
        "{PLAIN}secret",
        "{CLEARTEXT}secret",
        "{ROT13}secret",
        "{SSHA}with space",
    ],
)
def test_what_dovecot_cannot_read_is_refused(text: str) -> None:
    """The owner could not log in, and the import would have said nothing."""
    with pytest.raises(AccountError, match="password_hash") as error:
        passwords.check_hash(text)
    assert "secret" not in str(error.value), "a password must not end in a log"
