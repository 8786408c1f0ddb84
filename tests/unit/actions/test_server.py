"""What a start waits for, and what it does not: a database, a server of ours that is starting."""

from __future__ import annotations

import grp
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from gatepost.actions import in_container, planning, preparing, session
from gatepost.actions.session import Session
from gatepost.contracts import Plugin
from gatepost.errors import CheckError, OperationError, PreflightError, SettingsError
from gatepost.model import DELIVERY, Home, Installed, Topology
from gatepost.registry import load
from gatepost.run import apply, control, memory, packages, preflight, site
from gatepost.run.health import Health


def test_it_waits_says_so_once_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that start before their database would crash over and over, or bury why in repeats."""
    refusals = ["DB_HOST: nobody answers\nat db:5432."] * 3 + ["DB_PASSWORD: not accepted."]
    opened = object()

    def open_accounts(_settings: object) -> object:
        if refusals:
            raise OperationError(refusals.pop(0))
        return opened

    health, told, seen = Health(), list[str](), list[str | None]()
    monkeypatch.setattr(session, "open_accounts", open_accounts)
    monkeypatch.setattr(time, "sleep", lambda _: seen.append(health.obstacle()))
    settings = load({"MAILNAME": "mx.example.org"})
    assert in_container.open_patiently(settings, told.append, health) is opened
    assert told == [
        "Waiting for the database of accounts. DB_HOST: nobody answers at db:5432.",
        "Waiting for the database of accounts. DB_PASSWORD: not accepted.",
    ]
    assert seen == ["DB_HOST: nobody answers at db:5432."] * 3 + ["DB_PASSWORD: not accepted."]


TAKEN = "Port 127.0.0.1:32025 is taken"


@pytest.mark.parametrize(
    ("running", "obstacle", "looks"),
    [
        # Daemons of an interrupted `up` come into sight one after the other.
        (None, preflight.UnseenOwnerError(TAKEN), 3),
        ({"ready": False, "processes": [1]}, PreflightError(TAKEN), 3),
        # Controls: nothing is going to change by itself.
        (None, PreflightError(TAKEN), 1),
        ({"ready": True, "processes": [1]}, PreflightError(TAKEN), 1),
    ],
)
def test_ports_are_looked_at_again_while_a_server_of_ours_starts(
    monkeypatch: pytest.MonkeyPatch,
    running: dict[str, Any] | None,
    obstacle: PreflightError,
    looks: int,
) -> None:
    """After an interrupted `up` the next one would take its own daemons for somebody else's."""
    seen: list[object] = []

    def check(*_: object) -> None:
        seen.append(None)
        if len(seen) < 3:
            raise obstacle

    monkeypatch.setattr(control, "ask", lambda *_: running)
    monkeypatch.setattr(memory, "recall", lambda _: [])
    monkeypatch.setattr(preflight, "check", check)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    nothing = Home(Path("/nonexistent")), Topology((), {}, {}, ())
    if looks == 1:
        with pytest.raises(PreflightError, match=TAKEN):
            preparing.check_machine(*nothing)
    else:
        preparing.check_machine(*nothing)
    assert len(seen) == looks


def test_a_port_that_stays_taken_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in another container's sight would keep a start waiting for ever."""
    clock = iter(range(100))
    monkeypatch.setattr(control, "ask", lambda *_: None)
    monkeypatch.setattr(memory, "recall", lambda _: [])
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def check(*_: object) -> None:
        raise preflight.UnseenOwnerError(TAKEN)

    monkeypatch.setattr(preflight, "check", check)
    with pytest.raises(PreflightError, match=TAKEN):
        preparing.check_machine(Home(Path("/nonexistent")), Topology((), {}, {}, ()))
    assert next(clock) < 10


@pytest.mark.parametrize("refused", ["refused", ""])
def test_folders_are_renamed_after_the_configuration_is_in_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: str
) -> None:
    """The configuration that stays in use would not find the folders that it knows."""
    home = Home(tmp_path)
    folder = home.mail / "example.org" / "anna" / "Maildir" / ".x^y"
    folder.mkdir(parents=True)

    def put_in_place(*_: object) -> None:
        assert folder.is_dir()
        if refused:
            raise CheckError("dovecot refuses the configuration")

    for owner, name in (
        (preparing, "_introduce"),
        (preparing, "_keep_mail_aside"),
        (preparing, "_give_to_owners"),
        (site, "prepare"),
    ):
        monkeypatch.setattr(owner, name, MagicMock())
    monkeypatch.setattr(apply, "apply", put_in_place)
    settings = load({"MAILNAME": "mx.example.org", "GATEPOST_HOME": str(home.root)})
    draft = MagicMock(plugins=[MagicMock(offers={DELIVERY})])
    with pytest.raises(CheckError) if refused else nullcontext():
        preparing.write(Session(settings, lambda _: MagicMock()), draft, lambda _: None)
    assert folder.is_dir() is bool(refused)
    assert (home.state / "folder-names").exists() is not bool(refused)


def test_a_home_too_long_is_named_before_the_ports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one setting to change would stand behind a page of ports that another server has."""
    home = Home(tmp_path / ("x" * 100))
    looked = MagicMock()
    monkeypatch.setattr(preparing, "check_machine", looked)
    monkeypatch.setattr(packages, "require", MagicMock())
    monkeypatch.setattr(site, "survey", lambda _settings, _plugins: MagicMock(home=home, ipv6=True))
    settings = load({"MAILNAME": "mx.example.org", "GATEPOST_HOME": str(home.root)})
    with pytest.raises(SettingsError, match=r"GATEPOST_HOME: .* is too long"):
        preparing.look(Session(settings), lambda _: None)
    looked.assert_not_called()


def test_a_place_is_surveyed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each start asked every daemon twice for its version, and chose the plug-ins eight times."""
    asked: list[str] = []
    home = Home(tmp_path_factory.mktemp("h"))
    settings = load({"MAILNAME": "mx.example.org", "GATEPOST_HOME": str(home.root)})

    def find(plugin: Plugin) -> Installed:
        asked.append(plugin.name)
        return Installed("2.4.1" if plugin.name == "dovecot" else "3.7.11")

    own = grp.getgrgid(os.getgid())
    monkeypatch.setattr(grp, "getgrnam", lambda _name: own)  # the readers need not exist here
    monkeypatch.setattr(site, "_installed", find)
    monkeypatch.setattr(packages, "require", MagicMock())
    draft = planning.draft(settings)
    site.prepare(settings, draft.plugins)
    plan = draft.completed()
    assert len(asked) == len(set(asked))
    assert {"dovecot", "postfix"} <= set(asked)
    assert plan.topology == draft.plan.topology
    known = {file.path: file.content for file in draft.plan.files}
    assert known != {file.path: file.content for file in plan.files}, "now with the keys"
    assert all(process.versions for process in plan.processes)
