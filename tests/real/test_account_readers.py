"""Postfix reads the accounts as its own user, whatever else happens to the database."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from account_fixtures import HASH
from postgres import Cluster

from gatepost.accounts import lookups, sqlite
from gatepost.accounts.database import Database, database_of
from gatepost.accounts.lookups import Query
from gatepost.accounts.pgsql import Connection, PgsqlDatabase
from gatepost.accounts.records import Account, Alias, Mailbox
from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.accounts.store import Store, open_store
from gatepost.registry import load

AS_POSTFIX = (
    "env",
    "--unset=HOME",
    "setpriv",
    "--reuid=postfix",
    "--regid=postfix",
    "--clear-groups",
)


class Reader:
    """A database and Postfix's own client for it."""

    def __init__(self, folder: Path, database: Database, kind: str) -> None:
        """Take a folder that Postfix may enter, for its tables."""
        self.folder = folder
        self.database = database
        self.kind = kind

    def open(self) -> Store:
        """Open the store."""
        return open_store(self.database, delimiter="+")

    def table(self, query: Query, mark: str = "%s") -> str:
        """Write a look-up table for Postfix; return its name."""
        file = self.folder / f"{query.name}.cf"
        parts = {"local": "%u", "domain": "%d"} if "local" in query.parameters else {}
        bound = query.bind(**{name: parts.get(name, mark) for name in query.parameters})
        file.write_text(f"{self._place()}\nquery = {bound}\n")
        file.chmod(0o644)
        # Postfix waits until the last change of such a file is two seconds old.
        os.utime(file, (0, 0))
        return f"{self.kind}:{file}"

    def _place(self) -> str:
        if isinstance(self.database, SqliteDatabase):
            return f"dbpath = {self.database.path}"
        assert isinstance(self.database, PgsqlDatabase)
        to = Connection.of(self.database.settings, "readers")
        options = " ".join(f"{name}={value}" for name, value in to.options)
        return (
            f"hosts = inet:{to.address}\nuser = {to.user}\npassword = {to.password}\n"
            f"dbname = dbname={to.name} {options}"
        )

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


def companions(database: SqliteDatabase) -> list[Path]:
    """Return the files that lie beside an SQLite database."""
    name = database.path.name
    return [database.path.with_name(name + suffix) for suffix in sqlite.COMPANIONS]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that Postfix may enter."""
    with tempfile.TemporaryDirectory(prefix="gatepost-readers-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def file(folder: Path) -> SqliteDatabase:
    """Return an SQLite database that will be there."""
    return SqliteDatabase(folder / "accounts" / "accounts.sqlite3")


@pytest.fixture(params=["sqlite", "pgsql"])
def reader(request: pytest.FixtureRequest, folder: Path) -> Reader:
    """Return a database of each kind with one mailbox, closed."""
    if request.param == "sqlite":
        return populated(Reader(folder, request.getfixturevalue("file"), "sqlite"))
    server: Cluster = request.getfixturevalue("postgres")
    environment = server.environment(server.create()) | {"MAILNAME": "mail.example.org"}
    return populated(Reader(folder, database_of(load(environment)), "pgsql"))


@pytest.fixture
def file_reader(folder: Path, file: SqliteDatabase) -> Reader:
    """Return the same in SQLite only."""
    return populated(Reader(folder, file, "sqlite"))


def populated(made: Reader) -> Reader:
    with made.open() as store:
        store.add_domain("example.org")
        store.add_mailbox(Mailbox("anna@example.org", HASH))
    return made


def test_postfix_reads_with_no_writer_connected(reader: Reader) -> None:
    """All mail would be deferred from the end of one command to the next."""
    assert reader.ask(lookups.recipient("+"), "anna@example.org") == "anna@example.org"
    assert reader.ask(lookups.recipient("+"), "nobody@example.org") == ""


def test_postfix_reads_after_many_commands(reader: Reader) -> None:
    """It would work only until the first change."""
    for number in range(3):
        with reader.open() as store:
            store.add_mailbox(Mailbox(f"{number}@example.org", HASH))
        address = f"{number}@example.org"
        assert reader.ask(lookups.recipient("+"), address) == address


def test_without_the_companions_postfix_cannot_read(
    file_reader: Reader, file: SqliteDatabase
) -> None:
    """The control: laying down ``-wal`` and ``-shm`` is what makes the tests above pass."""
    for companion in companions(file):
        companion.unlink()
    with pytest.raises(subprocess.CalledProcessError) as error:
        file_reader.ask(lookups.recipient("+"), "anna@example.org")
    assert "readonly" in error.value.stderr or "unable to open" in error.value.stderr
    with sqlite.hold_open(file.path):
        assert file_reader.ask(lookups.recipient("+"), "anna@example.org") == "anna@example.org"
    assert file_reader.ask(lookups.recipient("+"), "anna@example.org") == "anna@example.org"


def test_postfix_reads_during_an_import_of_100000(reader: Reader) -> None:
    """Mail would be deferred for as long as a large import takes."""
    answers: list[str] = []
    new = "user50@example.org"

    def look(done: int) -> None:
        if done % 20_000 == 0:
            answers.append(reader.ask(lookups.recipient("+"), "anna@example.org"))
            answers.append(reader.ask(lookups.recipient("+"), new))

    many: list[Account] = [Mailbox(f"user{n}@example.org", HASH) for n in range(100_000)]
    with reader.open() as store:
        store.add_all(many, look)
        assert answers == ["anna@example.org", ""] * 5, "old and whole until it is done"
        assert reader.ask(lookups.recipient("+"), new) == new
    assert reader.ask(lookups.recipient("+"), new) == new


def test_in_a_rollback_journal_postfix_is_locked_out(
    file_reader: Reader, file: SqliteDatabase
) -> None:
    """The control: the other journal mode is simpler, and this is why it is not used."""
    import sqlite3  # noqa: PLC0415

    writer = sqlite3.connect(file.path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = DELETE")
    writer.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(subprocess.CalledProcessError) as error:
            file_reader.ask(lookups.recipient("+"), "anna@example.org")
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
        (lookups.recipient("+"), "o'brien@example.org", "o'brien@example.org"),
        (lookups.recipient("+"), "noreply@example.org", ""),
        (lookups.recipient("+"), "Anna+Shop@Example.org", "anna@example.org"),
        (lookups.alias("+"), "anna+shop@example.org", ""),
        (lookups.alias("+"), '"sales+a(b"@example.org', "anna@example.org,x@outside.test"),
        (lookups.judgement("+"), "sales+eu@example.org", ""),
        (lookups.alias("+"), "Sales@Example.org", "anna@example.org,x@outside.test"),
        (lookups.mailbox_kind("+"), "noreply@example.org", "send_only"),
        (lookups.sender("+"), "team@example.org", "anna@example.org"),
        (lookups.sender("+"), "gone@example.org", ""),
        (lookups.sender("+"), "nobody@example.org", ""),
    ):
        assert reader.ask(query, key) == answer, (query.name, key)


@pytest.mark.usefixtures("file_reader")
def test_nobody_else_reads_them(file: SqliteDatabase) -> None:
    """Every user of the machine could try passwords against the hashes."""
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", file.path],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert not done.stdout
