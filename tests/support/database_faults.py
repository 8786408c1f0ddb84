"""What happens to a database of accounts in SQLite, each for as long as a block lasts."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_PAGE = 4096
_READ_LOCKS = (123, 5)
"""Where readers lock the file beside the database, and how many bytes: www.sqlite.org/walformat."""


@contextlib.contextmanager
def written_to(database: Path) -> Iterator[None]:
    """Hold an exclusive transaction, as a large import does."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE mailboxes SET quota_bytes = quota_bytes")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Lock all readers out, which no program of ours does."""
    with database.with_name(database.name + "-shm").open("r+b") as stream:
        start, length = _READ_LOCKS
        fcntl.lockf(stream, fcntl.LOCK_EX, length, start)
        yield


@contextlib.contextmanager
def overwritten(database: Path, start: int, rubbish: bytes) -> Iterator[None]:
    """Write bytes into the middle of the file, and bring back what was there."""
    with database.open("r+b") as stream:
        stream.seek(start)
        good = stream.read(len(rubbish))
        stream.seek(start)
        stream.write(rubbish)
    try:
        yield
    finally:
        with database.open("r+b") as stream:
            stream.seek(start)
            stream.write(good)


@contextlib.contextmanager
def damaged(database: Path) -> Iterator[None]:
    """Overwrite every page but the first, and bring them back."""
    with overwritten(database, _PAGE, b"\xff" * (database.stat().st_size - _PAGE)):
        yield


@contextlib.contextmanager
def no_database(database: Path) -> Iterator[None]:
    """Overwrite the beginning, so that the file is none of SQLite's."""
    with overwritten(database, 0, b"nothing " * (_PAGE // 8)):
        yield


@contextlib.contextmanager
def away(database: Path) -> Iterator[None]:
    """Move the whole folder away, as when its disk is not mounted."""
    elsewhere = database.parent.with_name("accounts-away")
    database.parent.rename(elsewhere)
    try:
        yield
    finally:
        shutil.rmtree(database.parent, ignore_errors=True)
        elsewhere.rename(database.parent)


@contextlib.contextmanager
def unreadable(database: Path) -> Iterator[None]:
    """Close it to its readers, as a restored copy with another group is."""
    mode = database.stat().st_mode
    database.chmod(0o600)
    try:
        yield
    finally:
        database.chmod(mode)
