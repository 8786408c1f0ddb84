"""The accounts in SQLite: a migrated database for each test, copied from one made once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from account_fixtures import home, store

from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.accounts.store import open_store
from gatepost.model import Home

__all__ = ["home", "store"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty, migrated database."""
    path = tmp_path_factory.mktemp("accounts") / "template.sqlite3"
    open_store(path).close()
    return path


@pytest.fixture
def database(template: Path, tmp_path: Path) -> SqliteDatabase:
    """Return a database of this test's own."""
    return SqliteDatabase(Path(shutil.copy(template, tmp_path / "accounts.sqlite3")))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a home without a database."""
    return {"GATEPOST_HOME": str(tmp_path / "home"), "MAILNAME": "mail.example.org"}


@pytest.fixture
def empty(environment: dict[str, str]) -> SqliteDatabase:
    """Return the database that will be made there."""
    return SqliteDatabase(Home(Path(environment["GATEPOST_HOME"])).database)


@pytest.fixture
def raw(database: SqliteDatabase) -> Iterator[sa.Connection]:
    """Connect to the test's database past our own code."""
    engine = sa.create_engine(f"sqlite:///{database.path}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def place(database: SqliteDatabase) -> str:
    """Return how a supervisor is told of the test's database."""
    return str(database.path)


@pytest.fixture
def unreachable(tmp_path: Path) -> str:
    """Return how it is told of a database that is not there."""
    return str(tmp_path / "nothing.sqlite3")


@pytest.fixture
def read_whole(raw: sa.Connection) -> Callable[[str], set[str]]:
    """Return a function that tells which tables a query reads from end to end."""

    def tables(query: str) -> set[str]:
        plan = raw.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")
        scans = (re.match(r"SCAN (\w+)", row[3]) for row in plan)
        # A constant is no table; what a recursion has found so far is read through.
        return {scan[1] for scan in scans if scan} - {"CONSTANT", "chain", "logins"}

    return tables
