"""The accounts in SQLite: a migrated database for each test, copied from one made once."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
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
    """Return a function that tells which tables a query reads from end to end.

    An index that SQLite makes for the length of a query reads the whole table as well.
    """
    tables = set(sa.inspect(raw).get_table_names())

    def found(query: str) -> set[str]:
        plan = [row[3] for row in raw.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
        steps = (re.match(r"(?:SCAN|SEARCH) (\w+)", step) for step in plan)
        return {
            step[1]
            for step in steps
            if step
            and step[1] in tables
            and (step[0].startswith("SCAN") or "AUTOMATIC" in step.string)
        }

    return found


ANALYZED = (None, 0, 1, 1_000_000)
"""Rows that ANALYZE may have found in a table; None: it never ran."""


@pytest.fixture
def analyzed(raw: sa.Connection) -> Callable[[], Iterator[Mapping[str, int | None]]]:
    """Return a function that tells SQLite of tables of many sizes, one table unlike all others.

    It yields the sizes that the planner then believes in, whatever the tables hold.
    """
    raw.exec_driver_sql("ANALYZE")
    indexes = raw.exec_driver_sql(
        "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'"
        " AND tbl_name NOT IN ('alembic_version', 'settings_in_use')"
    ).fetchall()
    columns = {
        index: len(raw.exec_driver_sql(f"PRAGMA index_info({index})").fetchall())
        for _, index in indexes
    }
    tables = sorted({table for table, _ in indexes})

    def believe(sizes: Mapping[str, int | None]) -> None:
        raw.exec_driver_sql("DELETE FROM sqlite_stat1")
        for table, index in indexes:
            if sizes[table] is not None:
                # Rows, then how many of them share the first column, the first two, ….
                counts = " ".join([str(sizes[table]), *["1"] * columns[index]])
                raw.exec_driver_sql(
                    "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table, index, counts)
                )
        raw.exec_driver_sql("ANALYZE sqlite_schema")

    def sizes() -> Iterator[Mapping[str, int | None]]:
        for others, odd, size in itertools.product(ANALYZED, tables, ANALYZED):
            chosen = {**dict.fromkeys(tables, others), odd: size}
            believe(chosen)
            yield chosen

    return sizes
