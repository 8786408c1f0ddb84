"""Postfix reads the accounts as its own user, whatever else happens to the database."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.accounts import lookups, sqlite
from gatepost.accounts.lookups import Query
from gatepost.accounts.records import Account, Alias, Mailbox
from gatepost.accounts.store import Store, open_store

HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="
AS_POSTFIX = ("setpriv", "--reuid=postfix", "--regid=postfix", "--clear-groups")


class Reader:
    """A database and Postfix's own client for it."""

    def __init__(self, folder: Path) -> None:
        """Put the database below a folder that Postfix may enter."""
        self.folder = folder
        self.database = folder / "accounts" / "accounts.sqlite3"

    def open(self) -> Store:
        """Open the store."""
        return open_store(self.database, delimiter="+")

    def table(self, query: Query, mark: str = "%s") -> str:
        """Write a look-up table for Postfix; return its name."""
        file = self.folder / f"{query.name}.cf"
        bound = query.bind(**dict.fromkeys(query.parameters, mark))
        file.write_text(f"dbpath = {self.database}\nquery = {bound}\n")
        file.chmod(0o644)
        return f"sqlite:{file}"

    def ask(self, query: Query, key: str) -> str:
        """Look a key up as user postfix; raise `subprocess.CalledProcessError` on failure."""
        done = subprocess.run(
            [*AS_POSTFIX, "postmap", "-q", key, self.table(query)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if done.stderr or done.returncode not in (0, 1):
            raise subprocess.CalledProcessError(done.returncode, "postmap", stderr=done.stderr)
        return done.stdout.strip()

    def companions(self) -> list[Path]:
        """Return the files that lie beside the database."""
        name = self.database.name
        return [self.database.with_name(name + suffix) for suffix in sqlite.COMPANIONS]


@pytest.fixture
def reader() -> Iterator[Reader]:
    """Return a database with one mailbox, closed."""
    with tempfile.TemporaryDirectory(prefix="gatepost-readers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Reader(folder)
        with made.open() as store:
            store.add_domain("example.org")
            store.add_mailbox(Mailbox("anna@example.org", HASH))
        yield made


def test_postfix_reads_with_no_writer_connected(reader: Reader) -> None:
    """All mail would be deferred from the end of one command to the next."""
    assert reader.ask(lookups.RECIPIENT, "anna@example.org") == "anna@example.org"
    assert reader.ask(lookups.RECIPIENT, "nobody@example.org") == ""


def test_postfix_reads_after_many_commands(reader: Reader) -> None:
    """It would work only until the first change."""
    for number in range(3):
        with reader.open() as store:
            store.add_mailbox(Mailbox(f"{number}@example.org", HASH))
        address = f"{number}@example.org"
        assert reader.ask(lookups.RECIPIENT, address) == address


def test_without_the_companions_postfix_cannot_read(reader: Reader) -> None:
    """The control: laying down ``-wal`` and ``-shm`` is what makes the tests above pass."""
    for file in reader.companions():
        file.unlink()
    with pytest.raises(subprocess.CalledProcessError) as error:
        reader.ask(lookups.RECIPIENT, "anna@example.org")
    assert "readonly" in error.value.stderr or "unable to open" in error.value.stderr
    with sqlite.hold_open(reader.database):
        assert reader.ask(lookups.RECIPIENT, "anna@example.org") == "anna@example.org"
    assert reader.ask(lookups.RECIPIENT, "anna@example.org") == "anna@example.org"


def test_postfix_reads_during_an_import_of_100000(reader: Reader) -> None:
    """Mail would be deferred for as long as a large import takes."""
    answers: list[str] = []
    new = "user50@example.org"

    def look(done: int) -> None:
        if done % 20_000 == 0:
            answers.append(reader.ask(lookups.RECIPIENT, "anna@example.org"))
            answers.append(reader.ask(lookups.RECIPIENT, new))

    many: list[Account] = [Mailbox(f"user{n}@example.org", HASH) for n in range(100_000)]
    with reader.open() as store:
        store.add_all(many, look)
        assert answers == ["anna@example.org", ""] * 5, "old and whole until it is done"
        assert reader.ask(lookups.RECIPIENT, new) == new
    assert reader.ask(lookups.RECIPIENT, new) == new


def test_in_a_rollback_journal_postfix_is_locked_out(reader: Reader) -> None:
    """The control: the other journal mode is simpler, and this is why it is not used."""
    import sqlite3  # noqa: PLC0415

    writer = sqlite3.connect(reader.database, isolation_level=None)
    writer.execute("PRAGMA journal_mode = DELETE")
    writer.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(subprocess.CalledProcessError) as error:
            reader.ask(lookups.RECIPIENT, "anna@example.org")
        assert "locked" in error.value.stderr
    finally:
        writer.close()


def test_postfix_understands_every_query(reader: Reader) -> None:
    """A query that only our own SQLite understands would stop all mail."""
    with reader.open() as store:
        store.add_mailbox(Mailbox("noreply@example.org", HASH, send_only=True))
        store.add_mailbox(Mailbox("gone@example.org", HASH, enabled=False))
        store.add_mailbox(Mailbox("o'brien@example.org", HASH))
        store.add_alias(Alias("sales@example.org", ("anna@example.org", "x@outside.test")))
        store.add_alias(Alias("team@example.org", ("sales@example.org",)))
    for query, key, answer in (
        (lookups.MAILBOX_DOMAIN, "example.org", "example.org"),
        (lookups.MAILBOX_DOMAIN, "EXAMPLE.org", "example.org"),
        (lookups.RECIPIENT, "o'brien@example.org", "o'brien@example.org"),
        (lookups.RECIPIENT, "noreply@example.org", ""),
        (lookups.ALIAS, "Sales@Example.org", "anna@example.org,x@outside.test"),
        (lookups.SEND_ONLY, "noreply@example.org", "noreply@example.org"),
        (lookups.SENDER, "team@example.org", "anna@example.org"),
        (lookups.SENDER, "gone@example.org", "-"),
        (lookups.SENDER, "nobody@example.org", ""),
    ):
        assert reader.ask(query, key) == answer, (query.name, key)


def test_nobody_else_reads_them(reader: Reader) -> None:
    """Every user of the machine could try passwords against the hashes."""
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", reader.database],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert not done.stdout
