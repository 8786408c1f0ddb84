"""The schema on disk is the one the program believes in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from gatepost.accounts import migrations
from gatepost.accounts.store import open_store
from gatepost.accounts.tables import SCHEMA_VERSION, metadata


def test_the_newest_migration_is_the_one_the_store_looks_for() -> None:
    """A new migration would never run: the store would believe that it is done."""
    script = ScriptDirectory.from_config(migrations.configuration())
    assert script.get_current_head() == SCHEMA_VERSION
    assert len(script.get_heads()) == 1


def test_migrations_lead_to_the_tables(database: Path) -> None:
    """A column would be there on new machines and missing on old ones, or the reverse."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert difference == []


def test_a_changed_table_is_noticed(database: Path) -> None:
    """The control: the comparison above could be blind."""
    changed = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(changed)
    changed.tables["domains"].append_column(sa.Column("extra", sa.Integer))
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), changed)
    engine.dispose()


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """Half a schema could neither be used nor migrated again."""
    path = tmp_path / "accounts.sqlite3"
    program = (
        "import sys; from pathlib import Path; import alembic.op as op\n"
        "from gatepost.accounts.store import open_store\n"
        "real, calls = op.create_index, []\n"
        "def fail(*a, **k):\n"
        "    raise RuntimeError('power cut')\n"
        "op.create_index = fail\n"
        "open_store(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert "power cut" in done.stderr
    with open_store(path) as store:
        assert store.domains() == ()


def test_an_open_store_needs_no_alembic(database: Path) -> None:
    """Every command would take a third of a second longer."""
    program = (
        "import sys; from pathlib import Path\n"
        "from gatepost.accounts.store import open_store\n"
        "open_store(Path(sys.argv[1])).close()\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(database)], check=True)
