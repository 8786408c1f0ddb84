"""What the store needs of a kind of database, and the one place where a kind is chosen."""

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
    """One database of accounts, open or not.

    An engine that it makes knows two kinds of transactions: one with the execution option
    ``reading`` waits for nobody; any other has waited, when it begins, for all that write.
    """

    @property
    def name(self) -> str:
        """What messages call it; without a password."""

    def exists(self) -> bool:
        """Return whether there may be accounts, without making anything.

        Raises `PreflightError` when this user may not look.
        """

    def prepare(self) -> None:
        """Make what must be there before it can be opened.

        Raises `PreflightError` or `OperationError` when that is not possible.
        """

    def engine(self) -> sa.Engine:
        """Return a new engine; nothing is connected yet."""

    def release(self) -> None:
        """Leave it as its readers need it, after the last connection of an engine has closed."""

    def explain(self, error: DatabaseError) -> GatepostError:
        """Turn an error of its own into a sentence with the next step."""


def database_of(settings: Settings) -> Database:
    """Return the database that ``DB_DRIVER`` names."""
    if settings.database.db_driver is DatabaseDriver.PGSQL:
        return PgsqlDatabase(settings.database)
    home = Home(settings.storage.gatepost_home)
    return SqliteDatabase(home.database, home.config)
