"""Reads changes of accounts, for a supervisor that has to act on them within a second.

Each machine with daemons reads the database itself, because a command may run on another machine
than the sessions that it ends. This module does not import SQLAlchemy: it would stay in the
supervisor's memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    import psycopg

_NEWEST = "SELECT COALESCE(MAX(id), 0) FROM account_changes"
_SINCE = "SELECT id, address, folder FROM account_changes WHERE id > {mark} ORDER BY id"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an account."""

    address: str | None
    """The account whose sessions end; None when no session ends."""
    folder: str | None
    """The account's folder, below the folder of all mail."""


class Changes(Protocol):
    """Reader of the changes since its last call."""

    def poll(self) -> Sequence[Change]:
        """Return the changes since the last call, the oldest first; none at the first call.

        Raises `UnavailableError` when the database cannot be queried; the next call then returns
        the same changes.
        """

    def close(self) -> None:
        """Close the connection."""


class UnavailableError(Exception):
    """Error when the database of accounts cannot be queried at the moment."""


def open_changes(place: str) -> Changes:
    """Return the reader of a database, given as the path of an SQLite file or a PostgreSQL URI."""
    if place.startswith("postgresql://"):
        return PgsqlChanges(place)
    return SqliteChanges(Path(place))


class SqliteChanges:
    """The changes in an SQLite file."""

    def __init__(self, path: Path) -> None:
        """Take the path of a database that may not exist yet."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._seen: int | None = None

    def poll(self) -> Sequence[Change]:
        """Ask SQLite whether anybody has written (this reads no file); if so, read the changes."""
        try:
            if self._connection is None:
                # Read-write, or SQLite could not share memory with those that write.
                uri = f"file:{quote(str(self._path))}?mode=rw"
                self._connection = sqlite3.connect(
                    # One look at a time, each in a thread of its own.
                    uri,
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                )
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return ()
            found, self._seen = _newer(self._connection, "?", self._seen)
        except sqlite3.Error as error:
            self.close()
            raise UnavailableError(str(error)) from None
        self._version = version
        return found

    def close(self) -> None:
        """Close the connection; the next look opens another, whose versions are its own."""
        if self._connection:
            self._connection.close()
        self._connection, self._version = None, -1


class PgsqlChanges:
    """The changes on a PostgreSQL server."""

    def __init__(self, uri: str) -> None:
        """Take libpq's URI."""
        self._uri = uri
        self._connection: psycopg.Connection[Any] | None = None
        self._seen: int | None = None

    def poll(self) -> Sequence[Change]:
        """Ask with one statement; LISTEN would be more, and PgBouncer does not pass it on."""
        import psycopg  # noqa: PLC0415  only where PostgreSQL is in use

        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._uri, autocommit=True, prepare_threshold=None
                )
            found, self._seen = _newer(self._connection, "%s", self._seen)
        except psycopg.Error as error:
            self.close()
            raise UnavailableError(str(error)) from None
        return found

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        if self._connection:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None


def _newer(connection: Any, mark: str, seen: int | None) -> tuple[list[Change], int]:
    """Return the changes since the one seen last, and the number of the last one now."""
    if seen is None:
        return [], int(connection.execute(_NEWEST).fetchone()[0])
    rows = connection.execute(_SINCE.format(mark=mark), (seen,)).fetchall()
    return [Change(*row[1:]) for row in rows], rows[-1][0] if rows else seen
