"""What the tests of accounts share, whichever database they run on.

A ``conftest.py`` that takes these says by its own fixtures which database that is: `database`, a
migrated one of the test's own; `empty`, one that no command has opened yet; `environment`, the
settings that lead to `empty`; `raw`, a connection to `database` past our own code; `read_whole`,
the tables that a query reads from end to end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatepost.accounts.database import Database
from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import Store, open_store

HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """Open an empty store."""
    with open_store(database, delimiter="+") as opened:
        yield opened


@pytest.fixture
def home(store: Store) -> Store:
    """Return a store with the domain example.org and the mailbox anna."""
    store.add_domain("example.org")
    store.add_mailbox(Mailbox("anna@example.org", HASH))
    return store
