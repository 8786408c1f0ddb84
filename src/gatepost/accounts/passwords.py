"""Hashes of passwords for Dovecot, and checks of hashes from other systems.

New hashes are Argon2id with 7 MiB, five passes and one lane. OWASP's password storage guide lists
several settings of equal strength; this one needs the least memory. Every login uses that memory in
an auth worker. If it does not fit into the processor's cache, logins at the same time wait for each
other: with 19 MiB and two passes, a third fewer were possible per second.
"""

from __future__ import annotations

import re
import unicodedata

from gatepost.errors import AccountError

_MEMORY_KIB = 7 * 1024
_PASSES = 5
_LANES = 1
_LONGEST = 1024
"""Most characters of a password; nobody types more."""

_CRYPT = r"[./0-9A-Za-z]"
_BASE64 = r"[+/0-9A-Za-z]+"
_FORMS = {
    "ARGON2ID": rf"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\${_BASE64}\${_BASE64}",
    "ARGON2I": rf"\$argon2i\$v=\d+\$m=\d+,t=\d+,p=\d+\${_BASE64}\${_BASE64}",
    "BLF-CRYPT": rf"\$2[abxy]\$\d\d\${_CRYPT}{{53}}",
    "SHA512-CRYPT": rf"\$6\$(rounds=\d+\$)?[^$:]{{0,16}}\${_CRYPT}{{86}}",
    "SHA256-CRYPT": rf"\$5\$(rounds=\d+\$)?[^$:]{{0,16}}\${_CRYPT}{{43}}",
    "MD5-CRYPT": rf"\$1\$[^$:]{{0,8}}\${_CRYPT}{{22}}",
    "DES-CRYPT": rf"{_CRYPT}{{13}}",
}
"""Patterns of complete hashes, so that a truncated one is found before a login fails."""

SCHEMES = frozenset(_FORMS) | frozenset(
    (
        *("CRYPT", "PBKDF2", "SCRAM-SHA-1", "SCRAM-SHA-256", "CRAM-MD5", "HMAC-MD5", "DIGEST-MD5"),
        *("SSHA", "SSHA256", "SSHA512", "SHA", "SHA1", "SHA256", "SHA512"),
        *("SMD5", "MD5", "PLAIN-MD4", "PLAIN-MD5", "LDAP-MD5"),
    )
)
"""Hash schemes of Dovecot that can be imported (``doveadm pw -l``)."""

_CLEAR = frozenset({"PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC"})
_GIVEN = re.compile(r"\{([A-Za-z0-9-]+)(\.(?:HEX|B64|BASE64))?\}([\x21-\x7e]+)", re.IGNORECASE)


def hashed(password: str) -> str:
    """Return ``{ARGON2ID}…`` for a password in clear, with its letters composed (NFC).

    Raises `AccountError` when it is empty, too long or contains control characters, which no mail
    program can send.
    """
    if not password:
        raise AccountError("The password is empty. Give at least one character.")
    if len(password) > _LONGEST:
        raise AccountError(f"The password has {len(password)} characters. Give at most {_LONGEST}.")
    if any(ord(character) < ord(" ") or character == "\x7f" for character in password):
        raise AccountError(
            "The password holds a control character or is more than one line. "
            "Give one line of text."
        )
    return _hash(unicodedata.normalize("NFC", password))


def decomposed_hash(password: str) -> str | None:
    """Return the hash of a password in decomposed form (NFD); None when the form is the same.

    Some systems send "ü" as "u" and two dots. Dovecot hashes the bytes that it receives.
    """
    decomposed = unicodedata.normalize("NFD", password)
    return None if decomposed == unicodedata.normalize("NFC", password) else _hash(decomposed)


def _hash(password: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415  needed only to set a password

    hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
    return "{ARGON2ID}" + hasher.hash(password)


def check_hash(text: str) -> str:
    """Return a given hash unchanged when Dovecot can read it; raise `AccountError` if not.

    The message never repeats the hash: it may be a password in clear.
    """
    match = _GIVEN.fullmatch(text)
    if match is None:
        raise AccountError(
            "password_hash: it does not begin with the name of its scheme, or holds characters "
            "that no hash has. Write it as Dovecot does, {SCHEME}HASH, for example "
            "{SHA512-CRYPT}$6$…; `doveadm pw -s ARGON2ID` makes one."
        )
    scheme, encoding = match[1].upper(), match[2]
    if scheme in _CLEAR:
        raise AccountError(
            f"password_hash: {{{match[1]}}} is a password in clear. "
            "Hash it first: `doveadm pw -s ARGON2ID`."
        )
    if scheme not in SCHEMES:
        raise AccountError(
            f"password_hash: Dovecot has no scheme {{{match[1]}}}. "
            f"Use one of: {', '.join(sorted(SCHEMES))}."
        )
    form = _FORMS.get(scheme)
    if form and not encoding and not re.fullmatch(form, match[3]):
        raise AccountError(
            f"password_hash: this is not a complete {{{scheme}}} hash; nobody could log in. "
            "Check that it was not cut off or changed by a shell or spreadsheet."
        )
    return text
