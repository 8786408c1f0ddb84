"""The SQLite file and its two companion files: their owners, and their presence for readers.

Postfix and Dovecot open the database read-only and may not write into its folder. In WAL mode this
works only while the files ``-wal`` and ``-shm`` exist beside it, and SQLite deletes both when its
last writer closes. Therefore each program that closes the database creates them again, empty. See
docs/decisions/0002-accounts-in-sqlite.md for measurements. The supervisor uses this module, so it
imports SQLAlchemy only where it is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.errors import GatepostError, OperationError, PreflightError

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.exc import DatabaseError

READERS = "postfix"
"""The group whose members read the database: Postfix itself, and Dovecot's processes."""

COMPANIONS = ("-wal", "-shm")
_MAGIC = b"SQLite format 3\0"
_WAL_VERSIONS = b"\x02\x02"
"""Bytes 18 and 19 of the file's header: WAL mode (https://www.sqlite.org/fileformat2.html)."""
_FILE_MODE = 0o640
_FOLDER_MODE = 0o750
BUSY_SECONDS = 30
"""Longest wait of a writer for another one; an import of 100,000 mailboxes takes less."""


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    """The accounts in one file; see `gatepost.accounts.database.Database`."""

    path: Path
    configuration: Path | None = None
    """The configuration in use. If it names the file, the database existed before."""

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether the file exists; `PreflightError` when this user may not read it."""
        try:
            with self.path.open("rb") as file:
                return bool(file.read(1))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._closed(error) from None

    def prepare(self) -> None:
        """Create the file; see `prepare`.

        Raises `PreflightError` when an existing file has disappeared, or when this user may not
        read the folder.
        """
        try:
            there = self.path.exists()
        except OSError as error:
            raise self._closed(error) from None
        if self.configuration and not there and self._is_in_use(self.configuration):
            raise PreflightError(
                f"{self.path}: the database of accounts is gone. An empty one in its place would "
                "have all mail refused for good, and what waits in the queue would bounce. Bring "
                "the file back: is its disk mounted? To begin with no accounts at all, remove "
                f"{self.configuration}"
            )
        prepare(self.path)

    def _closed(self, error: OSError) -> PreflightError:
        return PreflightError(f"{self.path}: {error.strerror}. Run the command as root.")

    def _is_in_use(self, configuration: Path) -> bool:
        name = str(self.path).encode()
        for file in configuration.rglob("*"):
            with contextlib.suppress(OSError):
                if file.is_file() and name in file.read_bytes():
                    return True
        return False

    def engine(self) -> sa.Engine:
        """Return an engine whose writers wait for each other when their transactions begin."""
        import sqlalchemy as sa  # noqa: PLC0415  slow to import

        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self.path)),
            connect_args={"timeout": BUSY_SECONDS},
        )

        @sa.event.listens_for(engine, "connect")
        def connected(connection: Any, _record: object) -> None:
            # The driver's own transactions begin too late to wait for a lock.
            connection.isolation_level = None
            connection.execute("PRAGMA foreign_keys = ON")

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            reading = connection.get_execution_options().get("reading")
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

        return engine

    def release(self) -> None:
        """Create the companion files; see `keep_readable`."""
        keep_readable(self.path)

    def explain(self, error: DatabaseError) -> GatepostError:
        """Return an error that distinguishes a locked database from a damaged one."""
        from sqlalchemy.exc import OperationalError  # noqa: PLC0415

        if isinstance(error, OperationalError):
            return OperationError(
                f"{self.path}: the database could not be used: {error.orig}. Nothing was changed. "
                "When it is locked, another command is writing: try again. "
                "Otherwise look at the disk's free space and the file's owner."
            )
        return OperationError(
            f"{self.path}: the database is damaged or not Gatepost's: {error.orig}. "
            "Nothing was changed. Stop the server, restore the file from a backup, and start it: "
            "gatepost down, then gatepost up"
        )


def prepare(path: Path) -> None:
    """Create the database file in WAL mode if it is missing, and set its owner and rights.

    Raises `PreflightError` when this user may not do so, `OperationError` when the file is no
    database.
    """
    try:
        folder = _folder(path.parent)
        try:
            # Two first commands at once must not both switch the new file to WAL mode.
            fcntl.flock(folder, fcntl.LOCK_EX)
            _make(path)
        finally:
            os.close(folder)
    except PermissionError as error:
        raise PreflightError(
            f"{error.filename or path}: this user may not write there. "
            "Run the command as root, or set GATEPOST_HOME to a folder of your own."
        ) from None
    except OSError as error:
        raise PreflightError(
            f"{error.filename or path}: {error.strerror}. "
            "Set GATEPOST_HOME to a folder on a disk that can be written."
        ) from None
    except sqlite3.OperationalError as error:
        raise OperationError(
            f"{path}: the database cannot be opened: {error}. "
            "Another program may hold it; try again in a minute."
        ) from None
    except sqlite3.DatabaseError as error:
        raise OperationError(
            f"{path}: this is no SQLite database: {error}. "
            "Stop the server (gatepost down) and restore the file from a backup."
        ) from None


def keep_readable(path: Path) -> None:
    """Create the companion files that SQLite deleted, so that its readers can open the database.

    Empty files are valid and mean "nothing to read here". Does nothing if they exist, or if this
    user may not write.
    """
    for suffix in COMPANIONS:
        with contextlib.suppress(OSError):
            _touch(path.with_name(path.name + suffix))


@contextlib.contextmanager
def hold_open(path: Path) -> Iterator[None]:
    """Keep the database open, so that no other program is the last to close it.

    For the supervisor: other programs (Dovecot as root, an administrator's ``sqlite3``) do not
    create the companion files again. The database must exist.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        # The first read takes the lock that keeps the companion files.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
    finally:
        connection.close()
        keep_readable(path)


def _folder(folder: Path) -> int:
    """Create the folder if it is missing; return a descriptor of it."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_FOLDER_MODE)
        _own(folder)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _make(path: Path) -> None:
    _touch(path)
    if not os.access(path, os.W_OK):
        raise PermissionError(0, "", str(path))
    with path.open("rb") as file:
        header = file.read(len(_MAGIC) + 4)
    if header.startswith(_MAGIC) and header.endswith(_WAL_VERSIONS):
        return
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _touch(path: Path) -> None:
    """Create an empty file that readers may read; keep an existing one unchanged."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(path, flags, _FILE_MODE))
    _own(path)


def _own(path: Path) -> None:
    """Give a file to root and the readers' group, if this user is root and the group exists."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(KeyError):
        group = grp.getgrnam(READERS).gr_gid
        if path.stat().st_gid != group:
            os.chown(path, 0, group)
