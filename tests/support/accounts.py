"""Who lives on the shared servers; `populate` in tests/real/conftest.py makes them."""

from __future__ import annotations

from instance import Instance

PASSWORD = "correct horse battery staple"

ALICE = ("alice@example.org", PASSWORD)
BOB = ("bob@example.org", PASSWORD)
SMALL = ("small@example.org", PASSWORD)
DISABLED = ("disabled@example.org", PASSWORD)
SEND_ONLY = ("noreply@example.org", PASSWORD)
POSTMASTER = ("postmaster@example.org", PASSWORD)
READER = ("lesen@xn--bcher-kva.example", PASSWORD)


def populate(server: Instance) -> None:
    """Give a server the accounts that tests speak of."""
    for domain in ("example.org", "catchall.example", "bücher.example"):
        server.call("domain", "add", domain)

    def mailbox(address: str, *options: str) -> None:
        server.call("mailbox", "add", address, "--password-stdin", *options, stdin=PASSWORD)

    mailbox("alice@example.org")
    mailbox("bob@example.org")
    mailbox("small@example.org", "--quota", "100K")
    mailbox("disabled@example.org", "--disabled")
    mailbox("noreply@example.org", "--send-only")
    mailbox("noreply@catchall.example", "--send-only")
    mailbox("postmaster@example.org")
    mailbox("lesen@bücher.example")
    server.call("alias", "add", "sales@example.org", "alice@example.org", "bob@example.org")
    server.call("alias", "add", "team@example.org", "sales@example.org")
    server.call("alias", "add", "away@example.org", "friend@outside.test")
    server.call("alias", "add", "@catchall.example", "alice@example.org")
