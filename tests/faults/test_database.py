"""The database of accounts is locked, damaged or away while mail comes in."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import Instance

from faults import AT_ONCE, Ordeal, server_for_ordeals

MOST_LOGINS = 100
"""Of one sender, who comes again at once."""
_PAGE = 4096
_READ_LOCKS = (123, 5)
"""Where readers lock the file beside the database, and how many bytes: www.sqlite.org/walformat."""


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that this module may hurt."""
    with server_for_ordeals() as made:
        yield made


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


GONE = (("mailbox", "list"), ("up", "--detach"))
"""Commands that must not begin an empty database: every recipient would be unknown."""
FAULTS = (written_to, locked, damaged, no_database, away)
TO_BE_RESTORED = {damaged, no_database}
"""Needs the server to be stopped: SQLite remembers pages that it has read, broken ones too."""


def test_nothing_is_lost_without_a_database(
    server: Instance, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Every recipient would be unknown: accepted mail would bounce, and new mail be refused.

    Postfix's processes are started anew meanwhile, so that those who had the database open are
    joined by those who must open it. Postfix takes Dovecot's "not now" for "no" when somebody logs
    in (RFC 4954 has 454 for it): a mail program then asks for the password and keeps the message.
    """
    ordeal = Ordeal.of(server, seed)
    database = server.home / "accounts" / "accounts.sqlite3"
    with ordeal.load.running():
        for fault in ordeal.chance.sample(FAULTS, len(FAULTS)):
            ordeal.wait(0.3, 1)
            with contextlib.ExitStack() as stack, fault(database):
                ordeal.wait(1, 2)
                reload_daemons(server)
                for words in GONE if fault is away else ():
                    refused = server.run(*words)
                    assert refused.returncode == 2, refused
                    assert "is gone" in refused.stderr
                ordeal.wait(1, 2)
                begun = time.monotonic()
                if fault in TO_BE_RESTORED:
                    server.down()
                    stack.callback(server.up)
            ordeal.recover(f"database: {fault.__name__.replace('_', ' ')}", begun)
    most = len(FAULTS) * AT_ONCE
    ordeal.settle_and_tell(record_property, duplicates=most, locked_out=MOST_LOGINS)


def reload_daemons(server: Instance) -> None:
    config = server.home / "config" / "current"
    for words in (
        ("postfix", "-c", str(config / "postfix"), "reload"),
        ("doveadm", "-c", str(config / "dovecot" / "dovecot.conf"), "reload"),
    ):
        subprocess.run(words, check=False, capture_output=True)
