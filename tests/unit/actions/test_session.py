"""One session: opened for a moment by a command, kept by a program that lives long."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gatepost.accounts.sqlite import SqliteDatabase
from gatepost.actions import accounts, configuration
from gatepost.actions.session import Session
from gatepost.cli import accounts as commands
from gatepost.errors import AccountError, printable
from gatepost.run import rights
from gatepost.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings of a home of its own."""
    monkeypatch.setattr(rights, "require", lambda *_, **__: None)
    return load({"MAILNAME": "mail.example.org", "GATEPOST_HOME": str(tmp_path / "home")})


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down when an engine, with its pool of connections, is made and given up."""
    happened: list[str] = []
    engine, release = SqliteDatabase.engine, SqliteDatabase.release

    def made(database: SqliteDatabase) -> object:
        happened.append("made")
        return engine(database)

    def released(database: SqliteDatabase) -> None:
        happened.append("given up")
        release(database)

    monkeypatch.setattr(SqliteDatabase, "engine", made)
    monkeypatch.setattr(SqliteDatabase, "release", released)
    return happened


def test_two_actions_use_one_pool(settings: Settings, pools: list[str]) -> None:
    """A web page would connect to the database anew for each click."""
    with Session(settings) as session:
        assert pools == [], "nothing is opened before it is needed"
        accounts.add_domain(session, "example.org")
        (domain,) = accounts.list_domains(session)
        assert domain.name == "example.org"
        assert pools == ["made"]
    assert pools == ["made", "given up"]


def test_each_command_closes_its_own(
    settings: Settings, pools: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: daemons find SQLite's files only after the last writer has closed."""
    monkeypatch.setattr(configuration, "current", lambda: settings)
    (domain,) = (one for one in commands.COMMANDS if one.name == "domain")
    for words in (["add", "example.org"], ["list"], ["remove", "none.example"]):
        CliRunner().invoke(domain, words)
    assert pools == ["made", "given up"] * 3


def test_a_closed_session_opens_anew(settings: Settings, pools: list[str]) -> None:
    """A program that closes its session while nobody asks would fail at the next click."""
    session = Session(settings)
    for _ in range(2):
        assert accounts.list_domains(session) == ()
        session.close()
    session.close()
    assert pools == ["made", "given up"] * 2


def test_errors_say_what_they_are_about(settings: Settings) -> None:
    """A web page could not name the field that has to be filled in anew."""
    with Session(settings) as session:
        accounts.add_domain(session, "example.org")
        for action, value, about in (
            (accounts.add_domain, "example.org", "domain"),
            (accounts.remove_mailbox, "nobody@example.org", "mailbox"),
            (accounts.remove_alias, "not an\naddress", "alias"),
        ):
            with pytest.raises(AccountError) as told:
                action(session, value)
            assert told.value.kind == "account"
            assert told.value.parameters == {"object": about, "value": printable(value)}
