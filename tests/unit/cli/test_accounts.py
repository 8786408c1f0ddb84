"""The commands for accounts as a user meets them."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gatepost.accounts.records import PROBE_DOMAIN, Mailbox
from gatepost.accounts.store import open_store
from gatepost.actions import configuration
from gatepost.cli import accounts
from gatepost.errors import GatepostError
from gatepost.model import Home
from gatepost.registry import load
from gatepost.run import control

HASH = "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="


@dataclass(frozen=True)
class Done:
    """What a call ended with."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with one domain and one mailbox."""
    path = tmp_path_factory.mktemp("cli") / "template.sqlite3"
    with open_store(path) as store:
        store.add_domain("example.org")
        store.add_mailbox(Mailbox("anna@example.org", HASH))
    return path


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home with that database, which all commands use."""
    home = Home(tmp_path / "home")
    home.database.parent.mkdir(parents=True)
    shutil.copy(template, home.database)
    settings = load(
        {"GATEPOST_HOME": str(home.root), "MAILNAME": "mail.example.org"},
        hostname=lambda: "mail.example.org",
    )
    monkeypatch.setattr(configuration, "current", lambda: settings)
    return home


@pytest.fixture
def call(home: Home) -> Call:  # noqa: ARG001  the home must be there
    """Call a command as the command line does."""
    commands = {command.name: command for command in accounts.COMMANDS}

    def called(name: str, *arguments: str, stdin: str | bytes = "") -> Done:
        command: click.Command = commands[name]
        result = CliRunner().invoke(command, list(arguments), input=stdin)
        if isinstance(result.exception, GatepostError):
            return Done(result.exception.exit_code, result.stdout, str(result.exception))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return called


def test_the_commands_of_the_contract_are_there() -> None:
    """Scripts written for the documented commands would fail."""
    names = {command.name: command for command in accounts.COMMANDS}
    assert set(names) == {"domain", "mailbox", "alias", "import", "export"}
    expected = {
        "domain": {"add", "list", "remove"},
        "mailbox": {"add", "list", "set", "enable", "disable", "passwd", "remove"},
        "alias": {"add", "list", "remove"},
    }
    for name, verbs in expected.items():
        group = names[name]
        assert isinstance(group, click.Group)
        assert set(group.commands) == verbs


def test_domains(call: Call) -> None:
    """Nobody could set up a domain."""
    assert "xn--bcher-kva.example (bücher.example)" in call("domain", "add", "Bücher.example").out
    listed = call("domain", "list").out
    assert "bücher.example" in listed
    assert json.loads(call("domain", "list", "--json").out) == [
        {"name": "example.org", "mailboxes": 1, "aliases": 0},
        {"name": "xn--bcher-kva.example", "mailboxes": 0, "aliases": 0},
    ]
    refused = call("domain", "remove", "example.org")
    assert refused.code == 2
    assert "1 mailbox and 0 aliases" in refused.err
    assert "1 mailbox and 0 aliases" in call("domain", "remove", "example.org", "--force").out


def test_a_mailbox_from_add_to_remove(call: Call) -> None:
    """Nobody could get or lose a mailbox."""
    options = ("--password-stdin", "--quota", "1G", "--disabled")
    added = call("mailbox", "add", "Bob@Example.org", *options, stdin="secret\n")
    assert added == Done(0, "Added the mailbox bob@example.org.\n", "")
    (bob,) = (row for row in rows(call, "mailbox") if row["address"] == "bob@example.org")
    assert bob == {
        "address": "bob@example.org",
        "quota_bytes": 1024**3,
        "enabled": False,
        "send_only": False,
    }
    assert call("mailbox", "enable", "bob@example.org").code == 0
    assert call("mailbox", "set", "bob@example.org", "--quota", "none", "--send-only").code == 0
    (bob,) = (row for row in rows(call, "mailbox") if row["address"] == "bob@example.org")
    assert bob["quota_bytes"] is None
    assert bob["enabled"]
    assert bob["send_only"]
    assert call("mailbox", "set", "bob@example.org", "--no-send-only").code == 0
    assert call("mailbox", "disable", "bob@example.org").code == 0
    assert "disabled" in call("mailbox", "list", "example.org").out
    assert call("mailbox", "remove", "bob@example.org").code == 0
    assert len(rows(call, "mailbox")) == 1


def rows(call: Call, noun: str) -> list[dict[str, object]]:
    """Return what a list says in JSON."""
    listed: list[dict[str, object]] = json.loads(call(noun, "list", "--json").out)
    return listed


@pytest.mark.parametrize("stdin", ["new password", "new password\n", "new password\r\n"])
def test_a_password_from_standard_input(call: Call, home: Home, stdin: str) -> None:
    """``echo`` adds a line's end: nobody could log in with the password that was meant."""
    from argon2 import PasswordHasher  # noqa: PLC0415

    assert call("mailbox", "passwd", "anna@example.org", "--password-stdin", stdin=stdin).code == 0
    with open_store(home.database) as store:
        kept = store.mailbox("anna@example.org").password_hash
    assert PasswordHasher().verify(kept.removeprefix("{ARGON2ID}"), "new password")


@pytest.mark.parametrize("stdin", ["", "\n", "two\nlines\n", b"\xff\n"])
def test_a_password_that_cannot_be_is_refused(call: Call, home: Home, stdin: str | bytes) -> None:
    """A script's mistake would lock the owner out."""
    refused = call("mailbox", "passwd", "anna@example.org", "--password-stdin", stdin=stdin)
    assert refused.code == 2
    with open_store(home.database) as store:
        assert store.mailbox("anna@example.org").password_hash == HASH


def test_without_a_terminal_the_password_is_not_asked_for(call: Call) -> None:
    """A script would hang, or take the first line of something else for the password."""
    refused = call("mailbox", "add", "bob@example.org", stdin="secret\n")
    assert refused.code == 2
    assert "--password-stdin" in refused.err
    assert len(rows(call, "mailbox")) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a b@example.org",), "a b@example.org"),
        (("bob@nope.example",), "domain add nope.example"),
        (("anna@example.org",), "exists"),
        (("bob@example.org", "--quota", "lots"), "lots"),
    ],
)
def test_what_is_wrong_is_told_before_a_password_is_asked_for(
    call: Call, words: tuple[str, ...], told: str
) -> None:
    """Somebody would think of a password and type it twice, to hear that it was for nothing."""
    refused = call("mailbox", "add", *words)
    assert refused.code != 0
    assert told in refused.err
    assert "password" not in refused.err


def test_a_removed_mailbox_tells_where_its_mail_is(call: Call, home: Home) -> None:
    """The mail would stay for ever, and the next owner of the name would look for it."""
    mail = home.mail / "example.org" / "anna"
    mail.mkdir(parents=True)
    call("alias", "add", "sales@example.org", "anna@example.org")
    gone = call("mailbox", "remove", "anna@example.org")
    assert str(mail) in gone.out
    assert f"rm -r {mail}" in gone.err
    assert "sales@example.org" in gone.err
    assert mail.exists()
    again = call("mailbox", "add", "anna@example.org", "--password-stdin", stdin="x")
    assert again.code == 0
    assert f"left mail in {mail}. The new one begins empty." in again.err


def test_aliases(call: Call) -> None:
    """Nobody could set up an alias."""
    added = call("alias", "add", "Sales@example.org", "anna@example.org", "X@Outside.test")
    assert added.out == "Added the alias sales@example.org → anna@example.org, X@outside.test\n"
    assert "bob@example.org" in call("alias", "add", "info@example.org", "bob@example.org").err
    assert rows(call, "alias") == [
        {"address": "info@example.org", "targets": ["bob@example.org"]},
        {"address": "sales@example.org", "targets": ["anna@example.org", "X@outside.test"]},
    ]
    assert "X@outside.test" in call("alias", "list", "example.org").out
    assert call("alias", "remove", "info@example.org").code == 0
    assert len(rows(call, "alias")) == 1
    assert call("alias", "add", "@example.org", "anna@example.org").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("domain", "add", "exa mple"), ("exa mple",)),
        (("domain", "add", "example.org"), ("example.org", "exists")),
        (("domain", "remove", "nope.example"), ("nope.example",)),
        (("mailbox", "add", "a@nope.example", "--password-stdin"), ("domain add nope.example",)),
        (("mailbox", "add", "anna@example.org", "--password-stdin"), ("exists",)),
        (("mailbox", "add", "nonsense", "--password-stdin"), ('"nonsense"',)),
        (("mailbox", "add", "anna+b@example.org", "--password-stdin"), ("RECIPIENT_DELIMITER",)),
        (("mailbox", "add", "b@example.org", "--password-stdin", "--quota", "lots"), ('"lots"',)),
        (("mailbox", "set", "anna@example.org"), ("--quota",)),
        (("mailbox", "set", "anna@example.org", "--quota", "lots"), ('"lots"',)),
        (("mailbox", "set", "ghost@example.org", "--quota", "1G"), ("ghost@example.org",)),
        (("mailbox", "passwd", "ghost@example.org"), ("ghost@example.org",)),
        (("mailbox", "enable", "ghost@example.org"), ("ghost@example.org",)),
        (("mailbox", "disable", "ghost@example.org"), ("ghost@example.org",)),
        (("mailbox", "remove", "ghost@example.org"), ("ghost@example.org",)),
        (("mailbox", "list", "nope.example"), ("nope.example",)),
        (("alias", "add", "anna@example.org", "x@outside.test"), ("mailbox",)),
        (("alias", "add", "x@nope.example", "x@outside.test"), ("domain add nope.example",)),
        (("alias", "add", "loop@example.org", "loop@example.org"), ("back to itself",)),
        (("alias", "add", "x@example.org", "nonsense"), ('"nonsense"',)),
        (("alias", "remove", "x@example.org"), ("x@example.org",)),
        (("import", "no-such-file.csv"), ("no-such-file.csv",)),
        (("import", "-"), ("--format",)),
    ],
)
def test_mistakes_are_one_sentence_and_change_nothing(
    call: Call, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The user would see a traceback, or find half of a change later."""
    before = call("export").out
    refused = call(*arguments, stdin="secret password")
    assert refused.code == 2, refused
    for word in words:
        assert word in refused.err
    assert call("export").out == before


def test_import_and_export(call: Call, tmp_path: Path) -> None:
    """Accounts could be neither moved nor backed up."""
    file = tmp_path / "people.csv"
    file.write_text(f"type,address,password_hash\nmailbox,bob@example.org,{HASH}\n")
    done = call("import", str(file))
    assert done.out == "Imported 0 domains, 1 mailbox and 0 aliases.\n"
    again = call("import", str(file))
    assert again.code == 2
    assert f"{file}, line 2" in again.err
    lines = call("export", "--format", "jsonl").out
    call("domain", "remove", "example.org", "--force")
    assert call("import", "-", "--format", "jsonl", stdin=lines).code == 0
    assert call("export", "--format", "jsonl").out == lines


def test_an_exported_file_is_secret(call: Call, tmp_path: Path) -> None:
    """Every user of the machine could try passwords against the hashes."""
    file = tmp_path / "backup.jsonl"
    file.write_text("old")
    file.chmod(0o644)
    done = call("export", "--output", str(file))
    assert done.code == 0
    assert "secret" in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text().splitlines()[0]) == {
        "type": "domain",
        "address": "example.org",
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["backup.jsonl"]
    assert "secret" in call("export").err


def test_an_export_that_cannot_be_written_is_told(call: Call, tmp_path: Path) -> None:
    """A backup script would believe that it has a backup."""
    done = call("export", "--output", str(tmp_path / "none" / "backup.csv"))
    assert done.code == 1
    assert "backup.csv" in done.err


def test_the_probes_mailbox_is_not_shown(call: Call, home: Home) -> None:
    """The user would wonder whose mailbox that is, and remove it."""
    with open_store(home.database) as store:
        store.add_hidden_mailbox(Mailbox(f"probe@{PROBE_DOMAIN}", HASH))
    for arguments in (("domain", "list"), ("mailbox", "list"), ("export",)):
        assert PROBE_DOMAIN not in call(*arguments).out


def test_empty_lists_say_what_to_do(call: Call) -> None:
    """A newcomer would see nothing at all."""
    assert "gatepost alias add" in call("alias", "list").err
    assert json.loads(call("alias", "list", "--json").out) == []


def test_lists_fit_a_terminal(call: Call) -> None:
    """Long addresses would break the lines of the table."""
    local, domain = "l" * 64, f"{'d' * 60}.example"
    call("domain", "add", domain)
    targets = [f"{n}-{'t' * 40}@outside.test" for n in range(5)]
    call("alias", "add", f"{local}@{domain}", *targets)
    lines = call("alias", "list").out.splitlines()
    assert max(map(len, lines)) <= 100
    shown = "".join(character for line in lines for character in line)
    assert shown.count("l") >= 64, "an address must not be cut off"


def test_a_change_that_the_server_could_not_act_on_is_told(
    call: Call, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of a locked mailbox would go on, and the command end as if it were over."""
    why = "dovecot could not end sessions of changed accounts: no such socket"
    monkeypatch.setattr(control, "ask", lambda _home, _request: {"problems": [why]})
    done = call("mailbox", "disable", "anna@example.org")
    assert done.code == 1
    assert f"The accounts are changed, but {why}; the server tries again" in done.err
    assert "gatepost status" in done.err
    with open_store(home.database) as store:
        assert not store.mailbox("anna@example.org").enabled
    monkeypatch.setattr(control, "ask", lambda _home, _request: {"problems": []})
    assert call("mailbox", "enable", "anna@example.org").code == 0, "the control"
