"""The database's files are there for Postfix and Dovecot, and for nobody else."""

from __future__ import annotations

import grp
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost.accounts import sqlite
from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.accounts.store import Store, open_store
from gatepost.errors import OperationError, PreflightError


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def companions(path: Path) -> list[Path]:
    """Return the files that readers need beside the database."""
    return [path.with_name(path.name + suffix) for suffix in sqlite.COMPANIONS]


def test_a_new_database_is_for_its_readers_only(tmp_path: Path) -> None:
    """Password hashes would be open to every user of the machine."""
    path = tmp_path / "accounts" / "accounts.sqlite3"
    sqlite.prepare(path)
    assert mode(path.parent) == 0o750
    assert mode(path) == 0o640
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_readers_get_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postfix could not read it: all mail would be deferred."""
    group = next(g for g in grp.getgrall() if g.gr_gid not in (0, tmp_path.stat().st_gid))
    monkeypatch.setattr(sqlite, "READERS", group.gr_name)
    path = tmp_path / "accounts" / "accounts.sqlite3"
    sqlite.prepare(path)
    sqlite.keep_readable(path)
    for file in (path.parent, path, *companions(path)):
        assert (file.stat().st_uid, file.stat().st_gid) == (0, group.gr_gid), file


def test_a_machine_without_the_readers_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts could not be made before Postfix is installed."""
    monkeypatch.setattr(sqlite, "READERS", "no-such-group-here")
    sqlite.prepare(tmp_path / "accounts.sqlite3")


def test_without_the_right_to_look_the_way_is_named(tmp_path: Path) -> None:
    """Somebody who is not root would see a traceback."""
    folder = tmp_path / "accounts"
    folder.mkdir(mode=0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(PreflightError, match=r"Permission denied\. Run the command as root\."):
            SqliteDatabase(folder / "accounts.sqlite3", tmp_path / "current").prepare()
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_companions_stay_when_the_store_closes(store: Store, database: SqliteDatabase) -> None:
    """Postfix may not make them: it could not open the database until the next command."""
    store.add_domain("example.org")
    store.close()
    assert all(file.exists() for file in companions(database.path))
    assert all(mode(file) & 0o007 == 0 for file in companions(database.path))


def test_sqlite_itself_deletes_them(store: Store, database: SqliteDatabase) -> None:
    """The control: without this the promise above would need no work of ours."""
    store.close()
    connection = sqlite3.connect(database.path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    assert not any(file.exists() for file in companions(database.path))


def test_held_open_they_stay_whoever_closes(store: Store, database: SqliteDatabase) -> None:
    """An administrator's ``sqlite3`` would stop the mail."""
    store.close()
    with sqlite.hold_open(database.path):
        connection = sqlite3.connect(database.path)
        connection.execute("CREATE TABLE other (x)")
        connection.close()
        assert all(file.exists() for file in companions(database.path))
    assert all(file.exists() for file in companions(database.path))


def test_laying_them_down_loses_nothing(store: Store, database: SqliteDatabase) -> None:
    """A change that is only in the log yet would be gone."""
    store.add_domain("example.org")
    assert companions(database.path)[0].stat().st_size > 0
    sqlite.keep_readable(database.path)
    with open_store(database) as other:
        assert [d.name for d in other.domains()] == ["example.org"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The user would see a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="GATEPOST_HOME"):
        sqlite.prepare(tmp_path / "file" / "accounts" / "accounts.sqlite3")


def test_a_user_without_rights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user would not know that the command wants root."""
    path = tmp_path / "accounts.sqlite3"
    sqlite.prepare(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PreflightError, match="as root") as error:
        sqlite.prepare(path)
    assert str(path) in str(error.value)


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    """The user would see a traceback of SQLAlchemy's."""
    file = tmp_path / "accounts.sqlite3"
    file.write_text("this is not a database, whatever its name says" * 10)
    with pytest.raises(OperationError, match=r"accounts\.sqlite3.*no SQLite database"):
        open_store(file)


@pytest.mark.parametrize("named", [True, False])
def test_one_that_is_gone_is_not_begun_anew(tmp_path: Path, *, named: bool) -> None:
    """A disk that is not mounted would make every recipient unknown, and waiting mail bounce."""
    path, current = tmp_path / "accounts" / "accounts.sqlite3", tmp_path / "current"
    (tmp_path / "first" / "postfix").mkdir(parents=True)
    current.symlink_to("first")
    database = SqliteDatabase(path, current)
    open_store(database).close()
    (current / "postfix" / "domains.cf").write_text(f"dbpath = {path if named else '/else'}\n")
    shutil.rmtree(path.parent)
    if not named:
        # The control: never used, as when another kind of database was.
        open_store(database).close()
        return
    with pytest.raises(PreflightError, match="is gone") as error:
        open_store(database)
    assert str(path) in str(error.value)
    assert not path.parent.exists()


def test_what_analyze_has_seen_misleads_a_join(
    read_whole: Callable[[str], set[str]], analyzed: Callable[[], Iterator[object]]
) -> None:
    """The control: sizes that nobody believes in would prove nothing."""
    joined = (
        "SELECT name FROM mailboxes JOIN domains ON domains.id = mailboxes.domain_id "
        "WHERE address = 'x'"
    )
    assert read_whole(joined) == set()
    assert any(read_whole(joined) for _ in analyzed())
