"""``gatepost config``: what users and scripts are told of the settings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatepost.cli.configuration import config
from gatepost.errors import SettingsError, UsageError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder with one setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILNAME", "mail.example.org")


def test_show_is_a_table_that_fits(tmp_path: Path) -> None:
    """A terminal of a hundred columns would wrap it into nonsense."""
    (tmp_path / ".env").write_text(
        "DB_DRIVER=pgsql\nDB_HOST=db.example.net\nDB_NAME=a\nDB_USER=b\nDB_PASSWORD=hush\n"
    )
    done = CliRunner().invoke(config, ["show"])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 100
    assert "TRUSTED_PROXIES" in done.output
    assert "hush" not in done.output
    assert "\x1b[" not in done.output


def test_show_json(tmp_path: Path) -> None:
    """Scripts could not tell what a server runs with."""
    (tmp_path / ".env").write_text("POSTMASTER=admin@example.org\n")
    done = CliRunner().invoke(config, ["show", "--json"])
    rows = {row["name"]: row for row in json.loads(done.output)["settings"]}
    assert rows["POSTMASTER"]["value"] == "admin@example.org"
    assert rows["POSTMASTER"]["source"] == ".env"
    assert rows["MAILNAME"]["source"] == "environment"
    assert rows["RECIPIENT_DELIMITER"]["source"] == "default"


def test_check_says_that_all_is_right() -> None:
    """Silence leaves one in doubt."""
    done = CliRunner().invoke(config, ["check"])
    assert done.exit_code == 0
    assert "settings are right" in done.output


def test_check_warns_of_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting would have no effect, and nothing would say so."""
    monkeypatch.setenv("TRUSTED_PROXYS", "10.0.0.1")
    done = CliRunner().invoke(config, ["check"])
    assert done.exit_code == 0
    assert "Did you mean TRUSTED_PROXIES" in done.output


def test_check_refuses_what_only_the_listener_table_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check would pass and the start would fail."""
    monkeypatch.setenv("MTA_SMTP_ADDRESS", "127.0.0.1:31025")
    done = CliRunner().invoke(config, ["check"])
    assert isinstance(done.exception, SettingsError)
    assert "MTA_SMTP_ADDRESS" in str(done.exception)


def test_render_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    """What is there would be mixed with what is written."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    done = CliRunner().invoke(config, ["render", "out"])
    assert "out" in str(done.exception)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious"]


def test_render_refuses_an_empty_folder_that_others_may_write(tmp_path: Path) -> None:
    """They could put links there that lead what is written to other files."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    done = CliRunner().invoke(config, ["render", "out"])
    assert "chmod go-w out" in str(done.exception)
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out").chmod(0o755)
    assert CliRunner().invoke(config, ["render", "out"]).exit_code == 0
    assert list((tmp_path / "out").iterdir())


def test_render_makes_a_new_folder(tmp_path: Path) -> None:
    """The control: it would be refused as one that others may write."""
    before = os.umask(0o002)
    try:
        done = CliRunner().invoke(config, ["render", "new/out"])
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.exception
    assert list((tmp_path / "new" / "out").iterdir())


def test_render_refuses_what_is_no_folder(tmp_path: Path) -> None:
    """A traceback would not say what to do."""
    (tmp_path / "out").symlink_to("nowhere")
    done = CliRunner().invoke(config, ["render", "out"])
    assert isinstance(done.exception, UsageError)


def test_show_shows_what_stands_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """`[smtp.example.net]:587` would be shown as `:587`: the table takes brackets for colours."""
    monkeypatch.setenv("RELAYHOST", "[smtp.example.net]:587")
    assert "[smtp.example.net]:587" in CliRunner().invoke(config, ["show"]).output


def test_check_looks_at_the_files_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The check would pass, and `up` refuse the certificate."""
    for variable in ("TLS_CERT_FILE", "TLS_KEY_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "missing.pem"))
    done = CliRunner().invoke(config, ["check"])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).count("missing.pem") == 2
    assert "settings are right" not in done.output


def test_check_knows_the_addresses_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check would pass, and `up` refuse to listen there."""
    monkeypatch.setenv("PUBLIC_BIND_ADDRESS", "192.0.2.1")
    done = CliRunner().invoke(config, ["check"])
    assert isinstance(done.exception, UsageError)
    assert "192.0.2.1" in str(done.exception)


def test_checks_last_line_does_not_contradict_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the last line only would start a server that trusts half the internet."""
    monkeypatch.setenv("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
    done = CliRunner().invoke(config, ["check"])
    assert done.exit_code == 0, done.output
    assert "Warning: TRUSTED_PROXIES" in done.output
    last = done.output.strip().splitlines()[-1]
    assert "right" not in last
    assert "1 warning above" in last
