"""Normalisation of addresses and domains from what people write to what the database stores. Pure.

email-validator knows the rules (RFC 5321, 5322, 5891). This module adds the limits of Postfix and
Dovecot. It does not ask the DNS: a domain may be set up before its records are.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from gatepost.errors import AccountError

if TYPE_CHECKING:
    from email_validator import ValidatedEmail

_LONGEST = 1000
"""Most characters that are parsed: the library takes a second for a million of them. In its own
letters a name may be a little longer than the 254 of RFC 5321."""
_LONGEST_NAME = 255
"""Most characters of a domain (RFC 5321, 4.5.3.1.2)."""
LOCAL_PART_CHARACTERS = string.ascii_letters + string.digits + "!#$&'*+-.=?^_`{|}~"
"""Characters of mailbox names and their extensions: RFC 5322, 3.2.3, and ".", without "%", which
Postfix reads as routing syntax, and "/", which separates folders."""

_UNREACHABLE = {
    "%": "Postfix takes it for old routing syntax and refuses the mail",
    "!": "Postfix takes it for old routing syntax and refuses the mail",
}
_PATH_SEPARATOR = {"/": "the mailbox's folder would lie inside another one"}


def domain(text: str) -> str:
    """Normalise a domain: lower-case A-labels.

    Names without public DNS are allowed, such as ``localhost`` or ``office.internal``. Raises
    `AccountError` when the text is no domain name.
    """
    if "@" in text:
        after = text.rpartition("@")[2] or "example.org"
        raise AccountError(
            f'"{text}" is not a domain name: it holds an "@". '
            f"Give only what stands after it, for example {after}."
        )
    return _domain(text)


@lru_cache(maxsize=1024)
def _domain(text: str) -> str:
    try:
        name = _validated(f"x@{text}").ascii_domain.lower()
    except ValueError as error:
        raise AccountError(
            f'"{text}" is not a domain name: {_of_domain(str(error))} '
            "Write it like example.org or bücher.example."
        ) from None
    if name.rpartition(".")[2].isdigit():
        raise AccountError(
            f'"{text}" is not a domain name: it reads as an IP address. '
            "Write it like example.org or bücher.example."
        )
    return name


def mailbox(text: str) -> str:
    """Normalise a mailbox's address: lower case, A-labels.

    Raises `AccountError` when mail could not reach the address.
    """
    return _own(text, _UNREACHABLE | _PATH_SEPARATOR)


def alias(text: str) -> str:
    """Normalise an alias: an address of this server, or ``@DOMAIN`` for a domain's catch-all."""
    if text.startswith("@"):
        return "@" + domain(text[1:])
    return _own(text, _UNREACHABLE)


def target(text: str) -> str:
    """Normalise the target of an alias: any address; only the domain becomes lower case.

    The receiving server decides about the part before the "@" (RFC 5321, 2.4).
    """
    checked = _address(text)
    return f"{checked.local_part}@{_domain(checked.ascii_domain)}"


def split(address: str) -> tuple[str, str]:
    """Split a normalised address into local part (empty for a catch-all) and domain."""
    local_part, _, name = address.rpartition("@")
    return local_part, name


def shorter_forms(address: str, delimiter: str) -> Iterator[str]:
    """Yield the addresses of which this one may be an extension, the longest first.

    ``eva-maria+x@…`` → ``eva-maria@…``, ``eva@…``. The longest that is an account takes the mail.
    A delimiter at the very beginning is part of the name.
    """
    local_part, name = split(address)
    for end in range(len(local_part) - 1, 0, -1):
        if local_part[end] in delimiter:
            yield f"{local_part[:end]}@{name}"


def without_extension(address: str, delimiter: str) -> str:
    """Return the shortest form of an address: ``eva-maria+x@…`` → ``eva@…``.

    An account and all addresses that may be its extensions have the same shortest form.
    """
    local_part, name = split(address)
    found = [position for c in delimiter if (position := local_part.find(c)) > 0]
    return f"{local_part[: min(found)]}@{name}" if found else address


def readable(name: str) -> str:
    """Return a domain in its own letters (U-labels), or unchanged when it has none."""
    if "xn--" not in name:
        return name
    import idna  # noqa: PLC0415  only for the few names that need it

    try:
        return idna.decode(name)
    except idna.IDNAError:
        return name


def spellings(name: str) -> tuple[str, ...]:
    """Return the spellings of a domain that users may type, besides its A-labels; none for ASCII.

    Keyboards and systems compose letters in different ways (NFC, NFD), and Dovecot converts only
    ASCII to lower case.
    """
    own = readable(name)
    if own == name:
        return ()
    cases = (own, "".join(c if c.isascii() else c.upper() for c in own))
    found = (unicodedata.normalize(form, case) for form in ("NFC", "NFD") for case in cases)
    # An upper case of two letters may be ASCII only, which is another domain.
    return tuple(dict.fromkeys(s for s in found if not s.isascii() and len(s) <= _LONGEST_NAME))


def _own(text: str, refused: dict[str, str]) -> str:
    checked = _address(text)
    local_part = checked.local_part.lower()
    for character, reason in refused.items():
        if character in local_part:
            raise AccountError(
                f'"{text}" cannot be an address here: with "{character}" in its name, {reason}. '
                f'Choose a name without "{character}".'
            )
    if local_part.startswith("-"):
        raise AccountError(
            f'"{text}" cannot be an address here: Postfix refuses names that begin with "-", '
            "since programs take them for options. Choose another first character."
        )
    return f"{local_part}@{_domain(checked.ascii_domain)}"


def _address(text: str) -> ValidatedEmail:
    try:
        return _validated(text)
    except ValueError as error:
        raise AccountError(
            f'"{text}" is not an e-mail address: {_of_address(str(error))} '
            "Write it as NAME@DOMAIN, for example anna@example.org."
        ) from None


def _validated(text: str) -> ValidatedEmail:
    """Ask the library; raises `ValueError` with its reason."""
    if len(text) > _LONGEST:
        raise ValueError(f"It has {len(text)} characters, and an address has at most 254.")
    return _library()(
        text,
        check_deliverability=False,
        # localhost and other names without a dot are allowed in a private network.
        globally_deliverable=False,
        # Postfix runs without SMTPUTF8, because Dovecot's LMTP does not offer it.
        allow_smtputf8=False,
        strict=True,
    )


@lru_cache(maxsize=1)
def _library() -> Callable[..., ValidatedEmail]:
    import email_validator  # noqa: PLC0415  takes 60 ms, which commands without addresses save

    # The list is the library's documented switch: allow home.arpa, .local and .test.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return email_validator.validate_email


def _of_address(reason: str) -> str:
    return reason[:1].lower() + reason[1:]


def _of_domain(reason: str) -> str:
    """Change the library's sentence about an address into one about its domain."""
    for pattern, words in (
        (r"The part after the @-sign|The email address", "the name"),
        (r"An email address", "a domain name"),
        (r"There must be something after the @-sign", "it is empty"),
        (r"immediately after the @-sign", "at its beginning"),
        (r"After the @-sign, ", ""),
        (r"\s*after the @-sign", ""),
    ):
        reason = re.sub(pattern, words, reason)
    return _of_address(reason)
