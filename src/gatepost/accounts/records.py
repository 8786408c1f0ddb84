"""What the store takes and gives: values with addresses already checked and normalised."""

from __future__ import annotations

from dataclasses import dataclass, field

PROBE_DOMAIN = "verify.gatepost.invalid"
"""The hidden domain of the mailbox that ``gatepost verify`` works with (RFC 2606: never real)."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain that mail is received for."""

    name: str
    """Lower-case IDNA A-labels, such as ``xn--bcher-kva.example``."""
    mailboxes: int = 0
    """How many mailboxes it has."""
    aliases: int = 0
    """How many aliases it has, the catch-all included."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with mail and a login of its own."""

    address: str
    password_hash: str
    """In Dovecot's form: ``{SCHEME}hash``."""
    quota_bytes: int | None = None
    """Most bytes of mail it may hold; None for no limit."""
    enabled: bool = True
    """A disabled mailbox still receives mail and cannot log in."""
    send_only: bool = False
    """A send-only account submits mail and neither receives nor reads any."""
    decomposed_hash: str | None = field(default=None, compare=False)
    """Hash of the password with its letters decomposed, when that is another; never read back."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An address whose mail goes to other addresses."""

    address: str
    """``NAME@DOMAIN``, or ``@DOMAIN`` for the catch-all of a domain."""
    targets: tuple[str, ...]
    """Where the mail goes: addresses of ours or of other servers."""


Account = Domain | Mailbox | Alias
