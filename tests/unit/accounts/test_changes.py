"""Every supervisor sees each change of an account once, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from account_fixtures import HASH

from gatepost.accounts.changes import Change, Changes, UnavailableError, open_changes
from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import Store

GONE = Change("anna@example.org", "example.org/anna")


@pytest.fixture
def changes(home: Store, place: str) -> Iterator[Changes]:  # noqa: ARG001
    """Watch a database that has accounts already."""
    opened = open_changes(place)
    assert opened.poll() == []
    yield opened
    opened.close()


def test_a_change_is_seen_once(home: Store, changes: Changes) -> None:
    """Sessions would go on, or be ended again and again."""
    assert list(changes.poll()) == []
    home.remove_mailbox("anna@example.org")
    assert list(changes.poll()) == [GONE]
    assert list(changes.poll()) == []


def test_changes_without_an_end_are_seen(home: Store, changes: Changes) -> None:
    """A new quota would be unknown to a daemon that remembers the old one."""
    home.add_mailbox(Mailbox("bob@example.org", HASH))
    assert {*changes.poll()} == {Change(None, None)}


def test_what_was_missed_is_seen_later(home: Store, changes: Changes) -> None:
    """What changes while a node is cut off would never reach it."""
    changes.close()
    home.remove_mailbox("anna@example.org")
    assert list(changes.poll()) == [GONE]


def test_every_watcher_sees_it(home: Store, changes: Changes, place: str) -> None:
    """Only one of several nodes would end its sessions."""
    other = open_changes(place)
    other.poll()
    home.remove_mailbox("anna@example.org")
    assert list(other.poll()) == list(changes.poll()) == [GONE]
    other.close()


def test_a_database_that_is_away(unreachable: str) -> None:
    """The supervisor would end with its database."""
    with pytest.raises(UnavailableError):
        open_changes(unreachable).poll()
