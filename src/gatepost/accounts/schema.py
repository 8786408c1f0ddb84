"""The versions of the tables: those of the accounts, and a chain for each plug-in with tables."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from gatepost.accounts import rows
from gatepost.accounts.tables import SCHEMA_VERSION
from gatepost.errors import OperationError
from gatepost.model import Tables


def is_current(connection: sa.Connection, tables: Mapping[str, Tables]) -> bool:
    """Return whether the accounts, and the tables of these plug-ins, have their newest versions."""
    return rows.version(connection) == SCHEMA_VERSION and all(
        rows.version(connection, rows.version_table(plugin)) == chain.version
        for plugin, chain in tables.items()
    )


def bring_up(connection: sa.Connection, tables: Mapping[str, Tables], database: str) -> None:
    """Bring all of them to their newest versions, inside the transaction that is open.

    Raises `OperationError`, which calls the database as in `database`, when newer programs made
    them.
    """
    from alembic.util import CommandError  # noqa: PLC0415  0.3 s that only a change costs

    from gatepost.accounts import migrations  # noqa: PLC0415

    there = rows.version(connection)
    if there != SCHEMA_VERSION:
        try:
            migrations.upgrade(connection)
        except CommandError:
            raise OperationError(
                f"{database}: the schema of this database is version "
                f'"{there}", this Gatepost knows up to {SCHEMA_VERSION}. '
                "Install the Gatepost that wrote it, or a newer one."
            ) from None
    for plugin, chain in tables.items():
        there = rows.version(connection, rows.version_table(plugin))
        if there == chain.version:
            continue
        try:
            migrations.upgrade_plugin(connection, plugin, chain)
        except CommandError:
            raise OperationError(
                f"{database}: the tables of the plug-in {plugin} are version "
                f'"{there}", the installed plug-in knows up to {chain.version}. '
                "Install the one that wrote them, or a newer one."
            ) from None
