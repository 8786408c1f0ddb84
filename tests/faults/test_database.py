"""The database of accounts is locked, damaged or away while mail comes in."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from database_faults import away, damaged, locked, no_database, written_to
from instance import Instance

from faults import AT_ONCE, Ordeal, server_for_ordeals


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that this module may hurt."""
    with server_for_ordeals() as made:
        yield made


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
    joined by those who must open it. No login is refused:
    a mail program would ask for the password.
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
    ordeal.settle_and_tell(record_property, duplicates=most)


def reload_daemons(server: Instance) -> None:
    config = server.home / "config" / "current"
    for words in (
        ("postfix", "-c", str(config / "postfix"), "reload"),
        ("doveadm", "-c", str(config / "dovecot" / "dovecot.conf"), "reload"),
    ):
        subprocess.run(words, check=False, capture_output=True)
