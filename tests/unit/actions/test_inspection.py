"""What ``gatepost config check`` concludes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gatepost.actions import inspection
from gatepost.actions.inspection import Inspection
from gatepost.actions.session import Session
from gatepost.errors import UsageError
from gatepost.model import Tables
from gatepost.registry import load
from gatepost.run import rights

SETTINGS = load({"MAILNAME": "mail.example.org"})


@pytest.mark.parametrize(
    ("found", "right", "words"),
    [
        (Inspection(), True, ()),
        (Inspection(warnings=["a"]), False, ("1 warning above",)),
        (Inspection(warnings=["a", "b"]), False, ("2 warnings above",)),
        (Inspection(unseen=["a"]), False, ("Run it as root",)),
        (Inspection(now=["a"]), True, ("cannot start now",)),
        (Inspection(now=["a"], warnings=["b"]), False, ("cannot start now", "1 warning above")),
    ],
)
def test_the_last_line_contradicts_nothing(
    found: Inspection,
    right: bool,  # noqa: FBT001
    words: tuple[str, ...],
) -> None:
    """Whoever reads the last line only would believe that nothing is left to do."""
    last = inspection.conclusion(SETTINGS, found)
    assert ("settings are right" in last) is right
    for word in words:
        assert word in last


def test_a_home_that_others_may_write_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check would say that all is right, and `up` refuse the folder."""
    for look in ("_machine", "_database", "_accounts"):
        monkeypatch.setattr(inspection, look, lambda _session, _found: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(rights, "problems", lambda home: [f"{home.root} is open"])
    settings = load({"MAILNAME": "mail.example.org", "GATEPOST_HOME": str(tmp_path)})
    assert inspection.inspect(Session(settings)).problems == [f"{tmp_path} is open"]


def test_every_problem_is_raised_once() -> None:
    """One would mend a problem to be told of the next, or read the same twice."""
    with pytest.raises(UsageError) as told:
        inspection.raise_problems(Inspection(problems=["a", "b", "a"]))
    assert told.value.problems == ("a", "b")
    inspection.raise_problems(Inspection(warnings=["a"]))


def test_a_file_that_only_root_may_read_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not read the key would be told that it is wrong."""
    problem = 'TLS_KEY_FILE: "/etc/key.pem" cannot be read: Permission denied. Give …'
    monkeypatch.setattr(inspection, "files", lambda _settings: [problem])
    monkeypatch.setattr(rights, "problems", lambda _home: [])
    for look in ("_machine", "_database", "_accounts"):
        monkeypatch.setattr(inspection, look, lambda _session, _found: None)
    for user, problems, unseen in (
        (0, [problem], []),
        (1000, [], ['TLS_KEY_FILE: "/etc/key.pem"']),
    ):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        found = inspection.inspect(Session(SETTINGS))
        assert (found.problems, found.unseen) == (problems, unseen)


def test_tables_of_a_plugin_hide_nothing_of_the_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config check` would leave out what it does not like, and say that all is right."""
    settings = load({"MAILNAME": "mail.example.org", "GATEPOST_HOME": str(tmp_path)})
    (tmp_path / "migrations").mkdir()
    tables = {"toy": Tables("toy", tmp_path / "migrations", "0001")}
    with Session(settings) as session:
        session.store.add_domain("example.org")
    monkeypatch.setattr("gatepost.assembly.tables", lambda _settings: tables)
    found = Inspection()
    inspection._accounts(Session(settings), found)
    assert any("Nobody reads" in warning for warning in found.warnings)
    assert found.problems == [], "they are made by `up`"
    with sqlite3.connect(tmp_path / "accounts" / "accounts.sqlite3") as database:
        database.execute("CREATE TABLE alembic_version_toy (version_num TEXT)")
        database.execute("INSERT INTO alembic_version_toy VALUES ('0009')")
    inspection._accounts(Session(settings), found)
    (problem,) = found.problems
    assert 'are version "0009"' in problem
