"""Alembic's migrations of the accounts database, run by the program itself."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gatepost.accounts.rows import version_table
from gatepost.model import Tables


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration; there is no ``alembic.ini``."""
    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = "alembic_version"
    return config


def upgrade(connection: Connection) -> None:
    """Bring the accounts to the newest schema, inside the transaction that is open."""
    command.upgrade(configuration(connection), "head")


def upgrade_plugin(connection: Connection, tables: Tables) -> None:
    """Bring the tables of a plug-in to their newest schema, as `upgrade`."""
    command.upgrade(_of_plugin(tables, connection), tables.version)


def knows(tables: Tables, version: str) -> bool:
    """Tell whether a plug-in has the migration that led to a version of its tables."""
    script = ScriptDirectory.from_config(_of_plugin(tables))
    return any(one.revision == version for one in script.walk_revisions())


def _of_plugin(tables: Tables, connection: Connection | None = None) -> Config:
    config = configuration(connection)
    config.set_main_option("version_locations", _escaped(tables.migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes["version_table"] = version_table(tables.name)
    return config


def _escaped(folder: Path) -> str:
    return str(folder).replace("%", "%%")
