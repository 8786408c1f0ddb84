"""Values that the store takes and returns, with checked and normalised addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

PROBE_DOMAIN = "verify.gatepost.invalid"
"""The hidden domain of the mailbox of ``gatepost verify`` (RFC 2606: never a real domain)."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain for which the server receives mail."""

    name: str
    """Lower-case IDNA A-labels, such as ``xn--bcher-kva.example``."""
    mailboxes: int = 0
    """Number of its mailboxes."""
    aliases: int = 0
    """Number of its aliases, the catch-all included."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with its own mail and login."""

    address: str
    password_hash: str
    """In Dovecot's form: ``{SCHEME}hash``."""
    quota_bytes: int | None = None
    """Most bytes of mail that it may contain; None for no limit."""
    enabled: bool = True
    """False: the mailbox still receives mail, but logins are refused."""
    send_only: bool = False
    """True: the account can submit mail, but neither receive nor read any."""
    decomposed_hash: str | None = field(default=None, compare=False)
    """Hash of the password in decomposed form, if that form differs; never read back."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An address whose mail goes to other addresses."""

    address: str
    """``NAME@DOMAIN``, or ``@DOMAIN`` for the catch-all of a domain."""
    targets: tuple[str, ...]
    """Addresses that receive the mail, on this server or on others."""


Account = Domain | Mailbox | Alias
