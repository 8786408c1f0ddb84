"""Who reads mail for postmaster and abuse."""

from __future__ import annotations

import pytest
from account_fixtures import HASH

from gatepost.accounts.records import Alias, Mailbox
from gatepost.accounts.store import Store

MAILNAME, POSTMASTER = "mail.example.org", "postmaster@example.org"


def test_an_empty_server_is_not_warned(store: Store) -> None:
    """The first command would begin with a warning about nothing."""
    assert store.unread_roles(MAILNAME, POSTMASTER) == ()


@pytest.mark.parametrize(
    ("postmaster", "read"),
    [
        (POSTMASTER, False),
        ("anna@example.org", True),
        ("anna+post@example.org", True),
        ("noreply@example.org", False),
        ("x@outside.test", True),
        ("postmaster@mail.example.org", False),
        ("postmaster@org", False),
        ("dead@example.org", False),
        ("live@example.org", True),
        ("whoever@catch.example", True),
    ],
)
def test_postmaster_must_be_somebody(home: Store, postmaster: str, *, read: bool) -> None:
    """Other servers refuse mail of a domain without a postmaster."""
    home.add_domain("catch.example")
    home.add_alias(Alias("@catch.example", ("anna@example.org",)))
    home.add_mailbox(Mailbox("noreply@example.org", HASH, send_only=True))
    home.add_alias(Alias("dead@example.org", ("noreply@example.org",)))
    home.add_alias(Alias("live@example.org", ("dead@example.org", "anna@example.org")))
    found = home.unread_roles(MAILNAME, postmaster)
    assert (found == ()) is read
    if not read:
        (sentence,) = found
        assert f"POSTMASTER={postmaster}" in sentence
        for address in ("postmaster@catch.example", "abuse@example.org"):
            assert address in sentence


def test_an_account_of_that_name_counts(home: Store) -> None:
    """A domain with a postmaster of its own would be warned of, or one without would not."""
    home.add_mailbox(Mailbox(POSTMASTER, HASH, send_only=True))
    found = home.unread_roles(MAILNAME, "anna@example.org")
    assert len(found) == 1
    assert found[0].startswith(f'"{POSTMASTER}" receives no mail')
    home.change_mailbox(POSTMASTER, send_only=False)
    assert home.unread_roles(MAILNAME, POSTMASTER) == ()
