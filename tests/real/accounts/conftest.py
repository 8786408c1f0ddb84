"""The accounts in PostgreSQL: the tests beside this file are those of SQLite, by symbolic links."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from account_fixtures import home, store
from hypothesis import settings
from postgres import Cluster

from gatepost.accounts.database import Database, database_of
from gatepost.accounts.pgsql import PgsqlDatabase
from gatepost.accounts.store import open_store
from gatepost.registry import load

__all__ = ["home", "store"]

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def at(postgres: Cluster, name: str) -> Database:
    """Return a database of the server as the program sees it."""
    return database_of(load(postgres.environment(name), hostname=lambda: "mail.example.org"))


@pytest.fixture(scope="session")
def template(postgres: Cluster) -> str:
    """Make an empty, migrated database; return its name."""
    name = postgres.create()
    open_store(at(postgres, name)).close()
    return name


@pytest.fixture
def database(postgres: Cluster, template: str) -> Database:
    """Return a database of this test's own."""
    return at(postgres, postgres.create(template))


@pytest.fixture
def environment(postgres: Cluster) -> dict[str, str]:
    """Return the settings that lead to a database without tables."""
    return postgres.environment(postgres.create()) | {"MAILNAME": "mail.example.org"}


@pytest.fixture
def empty(environment: dict[str, str]) -> Database:
    """Return that database."""
    return database_of(load(environment))


@pytest.fixture
def raw(database: PgsqlDatabase) -> Iterator[sa.Connection]:
    """Connect to the test's database past our own code."""
    uri = database.connection.uri.replace("postgresql:", "postgresql+psycopg:", 1)
    engine = sa.create_engine(uri, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def place(database: PgsqlDatabase) -> str:
    """Return how a supervisor is told of the test's database."""
    return database.connection.uri


@pytest.fixture
def unreachable(database: PgsqlDatabase) -> str:
    """Return how it is told of a database that is not there."""
    return database.connection.uri.replace(f"/{database.settings.db_name}?", "/nothing?", 1)


@pytest.fixture
def read_whole(raw: sa.Connection) -> Callable[[str], set[str]]:
    """Return a function that tells which tables a query must read from end to end."""

    def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("Plans", ()):
            yield from nodes(child)

    def tables(query: str) -> set[str]:
        # Few rows are read quicker without an index: ask what it does when that is dear.
        few = raw.exec_driver_sql("SELECT count(*) FROM mailboxes").scalar_one() < CROWD
        for way in ("seqscan", "hashjoin", "mergejoin"):
            raw.exec_driver_sql(f"SET enable_{way} = {'off' if few else 'on'}")
        plan = raw.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalar_one()
        plan = json.loads(plan) if isinstance(plan, str) else plan
        return {
            node["Relation Name"]
            for node in nodes(plan[0]["Plan"])
            if node["Node Type"] == "Seq Scan"
            or (node["Node Type"].startswith("Index") and "Index Cond" not in node)
        }

    return tables


CROWD = 20_000
"""So many rows that no plan reads them all for one of them."""


@pytest.fixture
def analyzed(raw: sa.Connection) -> Callable[[], Iterator[Mapping[str, int | None]]]:
    """Return a function that leads through what ANALYZE may have seen: few rows, then many.

    In between are many rows of which it has not heard.
    """

    def states() -> Iterator[Mapping[str, int | None]]:
        yield {}
        raw.exec_driver_sql("ANALYZE")
        yield {"analyzed": 0}
        for statement in _FILL:
            raw.exec_driver_sql(statement)
        yield {"filled": CROWD}
        raw.exec_driver_sql("ANALYZE")
        yield {"analyzed": CROWD}

    return states


_SERIES = f"FROM generate_series(1000, {1000 + CROWD}) AS n"
_FILL = (
    f"INSERT INTO domains (id, name) SELECT n, n || '.example' {_SERIES}",
    f"INSERT INTO domain_names (name, domain_id) SELECT n || '.beispiel', n {_SERIES}",
    f"""INSERT INTO mailboxes (id, domain_id, local_part, address, password_hash, folder, login)
    SELECT n, n, 'u', 'u@' || n || '.example', 'x', n, 'u@' || n || '.example' {_SERIES}""",
    f"INSERT INTO aliases (id, domain_id, address) SELECT n, n, 'a@' || n || '.example' {_SERIES}",
    f"""INSERT INTO alias_targets (alias_id, position, target, address, destination, domain)
    SELECT n, 0, 'u@example', 'u@example', 'u@example', 'example' {_SERIES}""",
    f"INSERT INTO relay_clients (name, fingerprint) SELECT n, n {_SERIES}",
)
