"""Fuzz what people type about an account: addresses, domains, quotas and password hashes.

An input is the text that was typed, in UTF-8.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import PurePosixPath

import fuzzing

with fuzzing.instrumented("gatepost.accounts", "gatepost.settings.parsing", "email_validator"):
    from gatepost.accounts import addresses, passwords, quota
    from gatepost.settings import parsing

from gatepost.errors import AccountError
from gatepost.plugins.dovecot.files import _USERNAME_CHARS

mailbox = addresses.mailbox
"""Fuzzed among others; a test puts a broken one here, to see that it is found out."""

_SECRET_LENGTH = 6
_USERNAME = frozenset(_USERNAME_CHARS)
"""What Dovecot lets log in."""


def test_one_input(data: bytes) -> None:
    """Raise when a text becomes what daemons would take for something else."""
    # As arguments come from a shell, bytes that are not UTF-8 included (PEP 383).
    attempt(os.fsdecode(data))
    if fuzzing.chosen(data):
        with fuzzing.in_time():
            attempt(os.fsdecode(fuzzing.stretched(data)))


def attempt(text: str) -> None:
    """Try a text as everything that people type."""
    domain = told(addresses.domain, text)
    if domain is not None:
        a_name(domain)
        assert addresses.domain(domain) == domain
        assert addresses.domain(addresses.readable(domain)) == domain, "its letters are another's"
        assert addresses.alias(f"@{text}") == f"@{domain}"
    address = told(mailbox, text)
    if address is not None:
        a_mailbox(address)
    alias = told(addresses.alias, text)
    if alias is not None:
        an_address(alias)
        assert addresses.alias(alias) == alias
        assert alias == alias.lower(), "Postfix asks in lower case"
    target = told(addresses.target, text)
    if target is not None:
        an_address(target)
        assert addresses.target(target) == target
        assert alias in {None, target.lower()}
    a_postmaster(text)
    a_size(text)
    a_hash(text)


def told(read: Callable[[str], str], text: str) -> str | None:
    """Return what is read, or None when it is refused with a sentence that is fit to print."""
    try:
        return read(text)
    except AccountError as error:
        fuzzing.told_well(error.problems)
        return None


def a_name(domain: str) -> None:
    """See that a domain is a name and nothing more, also as a folder."""
    assert parsing._is_name(domain, least_labels=1), f"{domain!r} is no name"  # noqa: SLF001
    assert domain == domain.lower()
    assert ".." not in domain
    assert PurePosixPath(domain).parts == (domain,)


def an_address(address: str) -> None:
    """See that an address is one, in a list, a log line and a query of its own."""
    local_part, domain = addresses.split(address)
    a_name(domain)
    assert len(address) <= 320
    assert address.isascii()
    assert address.isprintable()
    assert not set(address) & set(' ,;:<>()[]"\\'), f"{address!r} would be more than an address"
    assert ".." not in address
    assert "@" not in local_part


def a_mailbox(address: str) -> None:
    """See that a mailbox has a folder of its own, gets its mail, and can log in."""
    an_address(address)
    local_part, domain = addresses.split(address)
    assert PurePosixPath(domain, local_part).parts == (domain, local_part)
    assert local_part not in {"", ".", ".."}
    assert not local_part.startswith("-"), "a program takes it for an option"
    assert set(address) <= _USERNAME, f"Dovecot lets nobody log in as {address!r}"
    assert mailbox(address) == address
    assert addresses.alias(address) == address


def a_postmaster(text: str) -> None:
    """See that the settings read an address no more loosely than accounts do."""
    try:
        address = parsing.mail_address(text)
    except ValueError:
        return
    an_address(address)
    assert parsing.mail_address(address) == address


def a_size(text: str) -> None:
    """See that a quota is a number of bytes that every daemon can hold, and is written as read."""
    try:
        size = quota.parse(text)
    except AccountError as error:
        fuzzing.told_well(error.problems)
        return
    assert size is None or 0 < size < 2**63
    assert quota.parse(quota.written(size)) == size


def a_hash(text: str) -> None:
    """See that a hash is one word, and that what is refused is not repeated."""
    try:
        found = passwords.check_hash(text)
    except AccountError as error:
        before, _, secret = text.rpartition("}")
        # A scheme that happens to hold the same letters may be named.
        known = len(secret) < _SECRET_LENGTH or secret in _SAID or secret in f"{before}}}"
        fuzzing.told_well(error.problems, secret="" if known else secret)
        return
    assert found == text
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert text.partition("}")[0].lstrip("{").upper() not in passwords._CLEAR  # noqa: SLF001


def _said() -> str:
    """Return the words that are ours when a hash is refused."""
    said = []
    for text in ("", "{PLAIN}x", "{X}x", *(f"{{{scheme}}}x" for scheme in passwords.SCHEMES)):
        try:
            passwords.check_hash(text)
        except AccountError as error:
            said.append(str(error))
    return " ".join(said)


_SAID = _said()


def main(arguments: list[str]) -> None:
    """Run libFuzzer; it ends the process."""
    fuzzing.main("addresses", test_one_input, arguments, longest=400)


if __name__ == "__main__":
    main(sys.argv[1:])
