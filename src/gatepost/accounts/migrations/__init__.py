"""Alembic's migrations of the accounts database, run by the program itself."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
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


def upgrade_plugin(connection: Connection, plugin: str, tables: Tables) -> None:
    """Bring the tables of a plug-in to their newest schema, as `upgrade`."""
    config = configuration(connection)
    config.set_main_option("version_locations", _escaped(tables.migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes["version_table"] = version_table(plugin)
    command.upgrade(config, tables.version)


def _escaped(folder: Path) -> str:
    return str(folder).replace("%", "%%")
