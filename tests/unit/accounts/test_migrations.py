"""The schema on disk is the one the program believes in."""

from __future__ import annotations

import os
import subprocess
import sys

import alembic.command
import alembic.op
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from gatepost.accounts import migrations
from gatepost.accounts.database import Database
from gatepost.accounts.records import Alias, Mailbox
from gatepost.accounts.store import open_store
from gatepost.accounts.tables import SCHEMA_VERSION, alias_targets, metadata


def test_the_newest_migration_is_the_one_the_store_looks_for() -> None:
    """A new migration would never run: the store would believe that it is done."""
    script = ScriptDirectory.from_config(migrations.configuration())
    assert script.get_current_head() == SCHEMA_VERSION
    assert len(script.get_heads()) == 1


def test_migrations_lead_to_the_tables(raw: sa.Connection) -> None:
    """A column would be there on new machines and missing on old ones, or the reverse."""
    assert compare_metadata(MigrationContext.configure(raw), metadata) == []


def test_mailboxes_keep_their_folders(empty: Database) -> None:
    """After an update everybody's mailbox would be empty."""
    empty.prepare()
    engine = empty.engine()
    with engine.begin() as connection:
        alembic.command.upgrade(migrations.configuration(connection), "0003")
        connection.execute(sa.text("INSERT INTO domains (id, name) VALUES (7, 'example.org')"))
        connection.execute(
            sa.text(
                "INSERT INTO mailboxes (domain_id, local_part, address, password_hash, quota_bytes)"
                " VALUES (7, 'anna', 'anna@example.org', '{SSHA}x', 5)"
            )
        )
    engine.dispose()
    with open_store(empty) as store:
        assert store.folder("anna@example.org") == "example.org/anna"
        assert store.mailboxes() == (Mailbox("anna@example.org", "{SSHA}x", quota_bytes=5),)
        store.remove_domain("example.org", force=True)
        assert store.mailboxes() == ()


def test_a_changed_table_is_noticed(raw: sa.Connection) -> None:
    """The control: the comparison above could be blind."""
    changed = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["domains"].append_column(sa.Column("extra", sa.Integer))
    assert compare_metadata(MigrationContext.configure(raw), changed)


def test_a_failed_migration_leaves_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a schema could neither be used nor migrated again."""

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(alembic.op, "create_index", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            open_store(empty)
    with open_store(empty) as store:
        assert store.domains() == ()


def test_aliases_survive_a_migration(empty: Database) -> None:
    """Aliases would lose their targets, or lead elsewhere, on a server that is updated."""
    empty.prepare()
    engine = empty.engine()
    with engine.begin() as connection:
        upgrade(migrations.configuration(connection), "0002")
        for statement in (
            "INSERT INTO domains (id, name) VALUES (1, 'example.org')",
            "INSERT INTO aliases (id, domain_id, address) VALUES (7, 1, 'sales@example.org')",
            """INSERT INTO alias_targets (alias_id, position, target, destination) VALUES
            (7, 0, 'Anna+Sales@Outside.test', 'anna@outside.test'),
            (7, 1, 'bob@example.org', 'bob@example.org')""",
            "INSERT INTO relay_clients (name, fingerprint) VALUES ('old', 'ab'), ('new', 'ab')",
        ):
            connection.exec_driver_sql(statement)
    with open_store(empty, delimiter="+") as store:
        assert store.aliases() == (
            Alias("sales@example.org", ("Anna+Sales@Outside.test", "bob@example.org")),
        )
    with engine.connect() as connection:
        rows = connection.execute(sa.select(alias_targets).order_by("position")).fetchall()
    engine.dispose()
    assert [row[2:] for row in rows] == [
        ("Anna+Sales@Outside.test", "anna+sales@outside.test", "anna@outside.test", "outside.test"),
        ("bob@example.org", "bob@example.org", "bob@example.org", "example.org"),
    ]


OPEN = (
    "import os, sys\n"
    "from gatepost.accounts.database import database_of\n"
    "from gatepost.accounts.store import open_store\n"
    "from gatepost.settings import load\n"
    "sys.stdin.readline()\n"
    "open_store(database_of(load(os.environ))).close()\n"
    "print('alembic' in sys.modules)\n"
)
"""A first command, which waits for a line before it opens the database."""


def test_two_first_commands_make_the_tables_once(
    empty: Database, environment: dict[str, str]
) -> None:
    """The second would end in "table already exists", or leave half of them."""
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for command in commands:
        assert command.stdin
        command.stdin.write("\n")
        command.stdin.flush()
    said = [command.communicate(timeout=60) for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0], said
    with open_store(empty) as store:
        assert store.domains() == ()


def test_an_open_store_needs_no_alembic(empty: Database, environment: dict[str, str]) -> None:
    """Every command would take a third of a second longer."""
    open_store(empty).close()
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        env={**os.environ, **environment},
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
