"""A line of ``.env`` is read as it was meant, or refused with where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import SettingsError
from gatepost.registry import load
from gatepost.settings import Settings


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    """Return where the file is."""
    return tmp_path / ".env"


def read(dotenv: Path, text: str) -> Settings:
    dotenv.write_text(text)
    return load({}, dotenv=dotenv, hostname=lambda: "mail.example.org")


def refused(dotenv: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as told:
        read(dotenv, text)
    return list(told.value.problems)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('TRUSTED_PROXIES="10.0.0.1', "a quote is opened and not closed"),
        ("TRUSTED_PROXIES='10.0.0.1", "a quote is opened and not closed"),
        ("TRUSTED_PROXIES: 10.0.0.1", "this line does not set a variable"),
        ("- TRUSTED_PROXIES=10.0.0.1", "this line does not set a variable"),
        ("TRUSTED_PROXIES", "this line names a variable and does not set it"),
        ("export TRUSTED_PROXIES", "this line names a variable and does not set it"),
        ('TRUSTED_PROXIES="10.0.0.1" 10.0.0.2', "this line does not set a variable"),
        ("=10.0.0.1", "this line does not set a variable"),
        ("TRUSTED PROXIES=10.0.0.1", "this line does not set a variable"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused(dotenv: Path, line: str, why: str) -> None:
    """It would be dropped, and the server start with defaults, trusting and listening otherwise."""
    (problem,) = refused(dotenv, f"# ours\n\nMAILNAME=mail.example.org\n{line}\n")
    assert problem.startswith(f'"{dotenv}", line 4: {why}: {line}\n')
    assert "NAME=value" in problem


def test_an_open_quote_does_not_swallow_what_follows(dotenv: Path) -> None:
    """All lines up to the next quote would be part of one value."""
    problems = refused(dotenv, 'MAILNAME="mail.example.org\nMYNETWORKS=10.0.0.0/8\nA_NAME="b"\n')
    assert problems[0].startswith(f'"{dotenv}", line 1: a quote is opened')
    problems = refused(dotenv, 'MAILNAME="mail.example.org\nMYNETWORKS=10.0.0.0/8\n"\n')
    assert "takes the lines after it in" in problems[0]


def test_every_line_is_told_at_once_and_the_values_too(dotenv: Path) -> None:
    """One would mend a line to be told of the next."""
    problems = refused(dotenv, "A: b\nPUBLIC_PORTS=some\n- C=d\n")
    assert [problem.partition(":")[0] for problem in problems] == [
        f'"{dotenv}", line 1',
        f'"{dotenv}", line 3',
        "PUBLIC_PORTS",
    ]


@pytest.mark.parametrize(
    "text",
    [
        'DB_PASSWORD="hunter2\n',
        "DB_PASSWORD: hunter2\n",
        "- DB_PASSWORD=hunter2\n",
        'DB_PASSWORD="be\nhunter2\n',
        "'DB_PASSWORD' hunter2\n",
    ],
)
def test_a_password_is_not_repeated(dotenv: Path, text: str) -> None:
    """The words about a line end in a log."""
    problems = refused(dotenv, text)
    assert problems
    assert "hunter2" not in "".join(problems)


@pytest.mark.parametrize(
    "line",
    [
        "MAILNAME=mx.example.net",
        "export MAILNAME=mx.example.net",
        "MAILNAME = mx.example.net",
        'MAILNAME="mx.example.net" # ours',
        "MAILNAME='mx.example.net'",
        "MAILNAME=mx.example.net # ours",
        "\ufeffMAILNAME=mx.example.net",
        "MAILNAME=mx.example.net\r",
    ],
)
def test_every_usual_way_is_read(dotenv: Path, line: str) -> None:
    """Files that worked would be refused."""
    found = read(dotenv, f"{line}\n")
    assert found.mail.mailname == "mx.example.net"
    assert not found.warnings


def test_a_dollar_stays_one(dotenv: Path) -> None:
    """A password would lose what looks like a shell's variable."""
    values = "DB_DRIVER=pgsql\nDB_HOST=a\nDB_NAME=b\nDB_USER=c\nDB_PASSWORD=x${HOME}$y\n"
    password = read(dotenv, values).database.db_password
    assert password
    assert password.get_secret_value() == "x${HOME}$y"


def test_a_variable_set_twice_is_noticed(dotenv: Path) -> None:
    """The first line looks as if it counted."""
    found = read(
        dotenv, "PUBLIC_PORTS=standard\nMAILNAME=a.example.org\nPUBLIC_PORTS=entrypoints\n"
    )
    (warning,) = found.warnings
    assert "PUBLIC_PORTS is set more than once" in warning
    assert "line 3" in warning


def test_a_name_that_nobody_knows_is_noticed(dotenv: Path) -> None:
    """A setting of another program, or of another version, has no effect."""
    (warning,) = read(dotenv, "ENABLE_MAGIC=1\nCOMPOSE_PROJECT_NAME=x\n").warnings
    assert warning.startswith("ENABLE_MAGIC, which .env sets, is not a setting")
