"""Plug-ins have tables beside the accounts, with a chain of migrations each."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa

from gatepost.accounts import migrations
from gatepost.accounts.database import Database
from gatepost.accounts.rows import version
from gatepost.accounts.store import Store, open_store
from gatepost.accounts.tables import SCHEMA_VERSION
from gatepost.contracts import Plugin
from gatepost.errors import OperationError
from gatepost.model import Tables

TOY = Path(__file__).parents[2] / "toy"
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("toy_rings", sa.Column("times", sa.Integer))
"""


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Return the toy's tables."""
    monkeypatch.syspath_prepend(TOY)
    plugin = import_module("gatepost_toy.plugin").PLUGIN
    assert isinstance(plugin, Plugin)
    assert plugin.tables
    return plugin.tables


def columns(database: Database, table: str) -> list[str]:
    """Return the columns of a table; none when there is no such table."""
    engine = database.engine()
    try:
        found = sa.inspect(engine)
        return [row["name"] for row in found.get_columns(table)] if found.has_table(table) else []
    finally:
        engine.dispose()


def test_they_are_made_beside_the_accounts(empty: Database, tables: Tables) -> None:
    """A plug-in would need a database of its own, or a change in the accounts' migrations."""
    with open_store(empty, tables={"toy": tables}) as store:
        assert store.is_current()
        store.add_domain("example.org")
    assert columns(empty, "toy_rings") == ["visitor"]
    engine = empty.engine()
    with engine.connect() as connection:
        assert version(connection, "alembic_version_toy") == "0001"
        assert version(connection) == SCHEMA_VERSION
    engine.dispose()


def test_without_the_plugin_there_are_none(empty: Database) -> None:
    """The control."""
    open_store(empty).close()
    assert columns(empty, "toy_rings") == []
    assert columns(empty, "domains")


def test_a_plugin_that_comes_later_gets_its_tables(empty: Database, tables: Tables) -> None:
    """Only a new server could have it."""
    with open_store(empty) as store:
        store.add_domain("example.org")
    with Store(empty, tables={"toy": tables}) as store:
        assert not store.is_current()
    with open_store(empty, tables={"toy": tables}) as store:
        assert [domain.name for domain in store.domains()] == ["example.org"]
    assert columns(empty, "toy_rings") == ["visitor"]


def test_its_chain_goes_on_alone(empty: Database, tables: Tables, tmp_path: Path) -> None:
    """An update of the plug-in would wait for one of Gatepost."""
    open_store(empty, tables={"toy": tables}).close()
    for migration in tables.migrations.glob("*.py"):
        (tmp_path / migration.name).write_text(migration.read_text())
    (tmp_path / "0002_times.py").write_text(SECOND)
    newer = Tables("toy", tmp_path, "0002")
    open_store(empty, tables={"toy": newer}).close()
    assert columns(empty, "toy_rings") == ["visitor", "times"]
    with pytest.raises(
        OperationError, match=r'"toy" of a plug-in are version "0002", .* up to 0001'
    ):
        open_store(empty, tables={"toy": tables})


def test_two_plugins_do_not_share_a_chain(empty: Database, tables: Tables, tmp_path: Path) -> None:
    """The second would believe that its tables are there."""
    first = next(tables.migrations.glob("*.py")).read_text()
    (tmp_path / "0001.py").write_text(first.replace("toy_rings", "other_rings"))
    other = replace(tables, name="an_other", migrations=tmp_path)
    both = {"toy": tables, "an_other": other}
    open_store(empty, tables=both).close()
    assert columns(empty, "toy_rings") == columns(empty, "other_rings") == ["visitor"]
    assert columns(empty, "alembic_version_an_other") == ["version_num"]


def test_a_migration_that_fails_changes_nothing(
    empty: Database, tables: Tables, tmp_path: Path
) -> None:
    """Every command would end in a traceback, or blame the disk."""
    open_store(empty).close()
    for name, wrong in {
        "raises": "raise ValueError('planted')",
        "imports": "import nothing_of_that_name",
        "parses": "def upgrade(:",
        "again": "from alembic import op\nimport sqlalchemy as sa\n"
        "op.create_table('domains', sa.Column('a', sa.Integer))",
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        first = next(tables.migrations.glob("*.py")).read_text()
        head, _, _ = first.partition("def upgrade")
        body = "\n".join(f"    {line}" for line in wrong.splitlines())
        text = wrong if name == "parses" else f"{head}def upgrade() -> None:\n{body}\n"
        (folder / "0001.py").write_text(text)
        with pytest.raises(OperationError, match=r'"toy" of a plug-in could not be brought'):
            open_store(empty, tables={"toy": replace(tables, migrations=folder)})
        assert columns(empty, "alembic_version_toy") == []
    open_store(empty, tables={"toy": tables}).close()
    assert columns(empty, "toy_rings") == ["visitor"], "the control"


def test_a_folder_that_is_missing_is_no_newer_version(
    empty: Database, tables: Tables, tmp_path: Path
) -> None:
    """The administrator would look for a newer package that there is not."""
    with pytest.raises(OperationError, match="could not be brought"):
        open_store(empty, tables={"toy": replace(tables, migrations=tmp_path / "none")})


def test_accounts_are_current_whatever_a_plugin_lacks(empty: Database, tables: Tables) -> None:
    """`config check` would leave out the daemons' checkers without a word."""
    open_store(empty).close()
    with Store(empty, tables={"toy": tables}) as store:
        assert store.accounts_are_current()
        assert not store.is_current()
        assert store.unusable_tables() == []


@pytest.mark.parametrize("name", ["", "a-b", "A", "1a", "a" * 41])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    """Two plug-ins would share a table of versions, or PostgreSQL would cut its name."""
    with pytest.raises(ValueError, match="is no name of tables"):
        Tables(name, tmp_path, "0001")


def test_a_busy_database_is_not_the_plugins_fault(
    empty: Database, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The administrator would remove a plug-in that is right."""

    def busy(*_: object) -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr(migrations, "upgrade_plugin", busy)
    with pytest.raises(OperationError) as told:
        open_store(empty, tables={"toy": tables})
    assert "plug-in" not in str(told.value)
