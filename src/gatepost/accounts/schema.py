"""The versions of the tables: those of the accounts, and a chain for each plug-in with tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from gatepost.accounts import rows
from gatepost.accounts.tables import SCHEMA_VERSION
from gatepost.errors import OperationError, printable
from gatepost.model import Tables

_OWN_FAULT = re.compile(r"already exists|no such|syntax error|duplicate column")
"""SQLite's words for what a migration does wrong; it has the same class of error for a lock."""


def is_current(connection: sa.Connection, tables: Mapping[str, Tables]) -> bool:
    """Return whether the accounts, and the tables of these plug-ins, have their newest versions."""
    return accounts_are_current(connection) and not _behind(connection, tables)


def accounts_are_current(connection: sa.Connection) -> bool:
    """Return whether the accounts' own tables have their newest version."""
    return rows.version(connection) == SCHEMA_VERSION


def _behind(connection: sa.Connection, tables: Mapping[str, Tables]) -> list[Tables]:
    return [
        chain
        for chain in tables.values()
        if rows.version(connection, rows.version_table(chain.name)) != chain.version
    ]


def unusable(
    connection: sa.Connection, tables: Mapping[str, Tables], database: str
) -> Iterator[str]:
    """Yield each plug-in's tables that cannot be brought to its version, a sentence each."""
    from gatepost.accounts import migrations  # noqa: PLC0415  0.3 s that only a change costs

    for chain in _behind(connection, tables):
        there = rows.version(connection, rows.version_table(chain.name))
        try:
            known = there is None or migrations.knows(chain, there)
        except Exception as error:  # noqa: BLE001  the files are somebody else's
            yield _failed(chain, database, error)
            continue
        if not known:
            yield (
                f'{database}: the tables "{chain.name}" of a plug-in are version "{there}", the '
                f"installed plug-in knows up to {chain.version}. "
                "Install the one that wrote them, or a newer one."
            )


def _failed(chain: Tables, database: str, error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "") or repr(error)
    return (
        f'{database}: the tables "{chain.name}" of a plug-in could not be brought to version '
        f"{chain.version}: {printable(first)}. Nothing was changed. "
        "Remove the package of the plug-in, or mend it."
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
    for chain in _behind(connection, tables):
        _bring_up(connection, chain, database)


def _bring_up(connection: sa.Connection, chain: Tables, database: str) -> None:
    from gatepost.accounts import migrations  # noqa: PLC0415

    for reason in unusable(connection, {chain.name: chain}, database):
        raise OperationError(reason)
    try:
        migrations.upgrade_plugin(connection, chain)
    except Exception as error:
        if isinstance(error, sa.exc.OperationalError) and not _OWN_FAULT.search(str(error.orig)):
            raise  # the database is busy, away or full
        raise OperationError(_failed(chain, database, error)) from error
