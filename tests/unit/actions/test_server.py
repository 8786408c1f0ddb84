"""A container waits for its database, says why in one line, and goes on by itself."""

from __future__ import annotations

import time

import pytest

from gatepost.actions import server
from gatepost.errors import OperationError
from gatepost.run.health import Health
from gatepost.settings import load


def test_it_waits_says_so_once_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that start before their database would crash over and over, or bury why in repeats."""
    refusals = ["DB_HOST: nobody answers\nat db:5432."] * 3 + ["DB_PASSWORD: not accepted."]
    opened = object()

    def open_accounts(_settings: object) -> object:
        if refusals:
            raise OperationError(refusals.pop(0))
        return opened

    health, told, seen = Health(), list[str](), list[str | None]()
    monkeypatch.setattr(server, "_open_accounts", open_accounts)
    monkeypatch.setattr(time, "sleep", lambda _: seen.append(health.obstacle()))
    assert server._open_patiently(load({"MAILNAME": "mx.example.org"}), told.append, health) is (
        opened
    )
    assert told == [
        "Waiting for the database of accounts. DB_HOST: nobody answers at db:5432.",
        "Waiting for the database of accounts. DB_PASSWORD: not accepted.",
    ]
    assert seen == ["DB_HOST: nobody answers at db:5432."] * 3 + ["DB_PASSWORD: not accepted."]
