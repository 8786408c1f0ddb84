"""A migrated database for each test, copied from one that is made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import Store, open_store

HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty, migrated database."""
    path = tmp_path_factory.mktemp("accounts") / "template.sqlite3"
    open_store(path).close()
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    """Return a database of this test's own."""
    return Path(shutil.copy(template, tmp_path / "accounts.sqlite3"))


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    """Open an empty store."""
    with open_store(database, delimiter="+") as opened:
        yield opened


@pytest.fixture
def home(store: Store) -> Store:
    """Return a store with the domain example.org and the mailbox anna."""
    store.add_domain("example.org")
    store.add_mailbox(Mailbox("anna@example.org", HASH))
    return store
