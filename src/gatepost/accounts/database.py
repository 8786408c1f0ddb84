"""The interface between the store and a kind of database, and the choice of the kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gatepost.accounts.pgsql import PgsqlDatabase
from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.errors import GatepostError
from gatepost.model import Home
from gatepost.settings import Settings
from gatepost.settings.concerns import DatabaseDriver

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.exc import DatabaseError


class Database(Protocol):
    """A database of accounts, open or not.

    Its engines know two kinds of transactions. One with the execution option ``reading`` never
    waits. Any other one waits at its beginning until all other writers have finished.
    """

    @property
    def name(self) -> str:
        """The name for messages, without a password."""

    def exists(self) -> bool:
        """Return whether there may be accounts, without creating anything.

        Raises `PreflightError` when this user may not read the database.
        """

    def prepare(self) -> None:
        """Create what must exist before the database can be opened.

        Raises `PreflightError` or `OperationError` when that is not possible.
        """

    def engine(self) -> sa.Engine:
        """Return a new engine; nothing is connected yet."""

    def release(self) -> None:
        """Keep the database readable for the daemons after an engine's last connection closed."""

    def explain(self, error: DatabaseError) -> GatepostError:
        """Return one of its own errors as a message with the next step."""


def database_of(settings: Settings) -> Database:
    """Return the database that ``DB_DRIVER`` names."""
    if settings.database.db_driver is DatabaseDriver.PGSQL:
        return PgsqlDatabase(settings.database)
    home = Home(settings.storage.gatepost_home)
    return SqliteDatabase(home.database, home.config)
