"""``gatepost verify``: calls that are refused before anything is done, and what combines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatepost.actions import proof as action
from gatepost.cli.proof import verify
from gatepost.errors import UsageError
from gatepost.model import Finding, Status
from gatepost.run import reports
from gatepost.verify.report import Report

FINDINGS = (
    Finding("banner", "smtp", "IPv4", Status.PASS, "wanted", "seen"),
    Finding("tls", "smtp", "IPv4", Status.RISK, "wanted", "self-signed", "x", "do this"),
)


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Work in an empty folder, where runs are noted and not made."""
    made: list[str] = []

    def prove(*given: object, **_: object) -> Report:
        made.append(str(given[0]) if isinstance(given[0], str) else "here")
        return Report("mail.example.org", FINDINGS, datetime.now(UTC), 1.0, notes=("A note.",))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILNAME", "mail.example.org")
    monkeypatch.setattr(action, "prove", prove)
    monkeypatch.setattr(action, "prove_outside", prove)
    monkeypatch.setattr(action, "prove_in_cluster", lambda *_, **__: prove("in the cluster"))
    return made


def call(*arguments: str) -> Result:
    return CliRunner().invoke(verify, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "banana"], 'no check "banana"'),
        (["--skip", "banana"], 'no check "banana"'),
        (["--junit", "no/such/file.xml"], "verify --junit"),
        (["--junit", "."], "is a folder"),
        (["--prometheus", "no/such/file.prom"], "there is no folder"),
        (["--prometheus", "metrics.txt"], '"metrics.prom"'),
        (["--junit", "one.prom", "--prometheus", "./one.prom"], "Name two"),
        (["--watch", "30", "--json"], "cannot be JSON"),
        (["--watch", "30"], "no terminal"),
        (["--watch"], "no terminal"),
        (["--watch", "1"], "give 20 or more"),
        (["--ports", "standard"], "--target HOST"),
        (["--cluster", "--target", "127.0.0.1"], "Leave one of them out"),
        (["--cluster", "--only", "missing-header"], "forged-direct stands for it"),
        (["--only", "route"], "add --cluster"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_done(
    runs: list[str], arguments: list[str], words: str
) -> None:
    """Ten seconds later, an admin would have gone away."""
    done = call(*arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert done.exception.exit_code == 2
    assert words in str(done.exception)
    assert not runs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--watch", "soon"], "integer"),
        (["--ports", "some", "--target", "127.0.0.1"], "entrypoints"),
        (["--target"], "requires an argument"),
    ],
)
def test_the_parser_refuses_values_it_knows_to_be_wrong(
    runs: list[str], arguments: list[str], words: str
) -> None:
    """Every wrong call ends with exit code 2 and the right values."""
    done = call(*arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert not runs


def test_two_wrong_files_are_told_at_once() -> None:
    """One at a time takes two tries."""
    done = call("--junit", "no/x.xml", "--prometheus", "no/x.prom")
    assert isinstance(done.exception, UsageError)
    assert len(done.exception.problems) == 2


def test_all_forms_at_once(tmp_path: Path) -> None:
    """A cron job wants the file, and its mail the table."""
    table = call("--junit", "x.xml", "--prometheus", "x.prom")
    assert table.exit_code == 3, table.output
    assert "self-signed" in table.output
    assert table.output.splitlines()[-2:] == [
        "A note.",
        "2 checks: 1 at risk, 1 passed. Nothing failed.",
    ]
    assert "<testsuite" in (tmp_path / "x.xml").read_text()
    assert "gatepost_verify_findings" in (tmp_path / "x.prom").read_text()
    said = json.loads(call("--json", "--junit", "y.xml").stdout)
    assert set(said) == {"summary", "findings"}
    assert (tmp_path / "y.xml").exists()
    assert call("--tolerant").exit_code == 0


def test_a_file_that_cannot_be_written_after_all_comes_after_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was found must not be lost with it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports, "write", full)
    done = call("--junit", "x.xml")
    assert "self-signed" in done.output
    assert isinstance(done.exception, UsageError)
    assert "x.xml" in str(done.exception)
    assert "No space" in str(done.exception)


def test_another_machine_is_probed_whatever_the_settings_here_are(
    runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop has no mail server's settings, or wrong ones."""
    monkeypatch.setenv("TRUSTED_PROXIES", "banana")
    assert call("--target", "127.0.0.1").exit_code == 3
    assert runs == ["127.0.0.1"]


def test_the_help_teaches_by_examples() -> None:
    """Who types --help wants to know what to type next."""
    said = call("--help").output
    for words in ("gatepost verify --watch", "--target mail.example.org", "not proven", "Checks:"):
        assert words in said


def test_a_cluster_is_proven_from_inside(runs: list[str]) -> None:
    """Everything else would be this pod proving itself."""
    call("--cluster", "--only", "route", "--json")
    call("--only", "banner", "--json")
    assert runs == ["in the cluster", "here"]
