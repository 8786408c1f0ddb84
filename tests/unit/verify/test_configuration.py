"""A proof is worth what runs while it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.model import Home, Status
from gatepost.run import control, record
from gatepost.verify.checks.configuration import Seen, judged, seen

RUNNING = Seen("000003", {"dovecot": 1, "postfix": 2})


@pytest.mark.parametrize(
    ("before", "now", "status", "words"),
    [
        (RUNNING, RUNNING, Status.PASS, "configuration 000003: dovecot, postfix"),
        (RUNNING, Seen(), Status.FAIL, "the mail server was stopped"),
        (Seen(), RUNNING, Status.FAIL, "the mail server was started"),
        (
            RUNNING,
            replace(RUNNING, generation="000004"),
            Status.FAIL,
            "000004 took the place of 000003",
        ),
        (
            RUNNING,
            replace(RUNNING, processes={"dovecot": 1, "postfix": 3}),
            Status.FAIL,
            "postfix was started anew",
        ),
        (RUNNING, replace(RUNNING, problems=("apart",)), Status.FAIL, "apart"),
        (Seen(), Seen(), Status.NOT_PROVEN, "no mail server"),
        (Seen(silent="Run it as root."), Seen(silent="Run it as root."), Status.NOT_PROVEN, ""),
    ],
)
def test_two_looks_are_compared(before: Seen, now: Seen, status: Status, words: str) -> None:
    """Rows would fail for a `down` that somebody typed meanwhile, and nobody would know."""
    outcome = judged(before, now)
    assert outcome.status is status
    assert words in outcome.observed
    assert bool(outcome.fix) == (status is not Status.PASS)


def test_a_server_that_is_stopping_runs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its services answer for a moment longer."""
    answer = {"stopping": True, "services": [{"name": "postfix", "pid": 1}]}
    monkeypatch.setattr(control, "ask", lambda *_, **__: answer)
    monkeypatch.setattr(record, "generation", lambda _: None)
    assert seen(Home(Path("/nonexistent"))) == Seen()
    answer["stopping"] = False
    assert seen(Home(Path("/nonexistent"))) == Seen("", {"postfix": 1})
