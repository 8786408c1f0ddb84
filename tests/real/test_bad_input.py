"""Bad input: one clear sentence, exit code 2, and nothing changed."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import PROGRAM, Instance, instance
from issuing import issue


@pytest.fixture
def idle() -> Iterator[Instance]:
    """Return a server that has never been started."""
    with instance(start=False) as server:
        yield server


def refused(server: Instance, *arguments: str, stdin: str | None = None) -> str:
    """Run a command that must be refused; return the sentence."""
    before = sorted(str(p) for p in server.home.rglob("*"))
    done = server.run(*arguments, stdin=stdin)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert sorted(str(p) for p in server.home.rglob("*")) == before, "something was changed"
    return done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "traefik"),
        ("MYNETWORKS", "300.1.1.1"),
        ("PUBLIC_BIND_ADDRESS", "127.0.0.256"),
        ("SERVICE_BIND_ADDRESS", "localhost"),
        ("MDA_IMAP_ADDRESS", "traefik-internal"),
        ("MDA_IMAP_ADDRESS", "traefik-internal:99999"),
        ("MTA_SMTP_ADDRESS", ":25"),
        ("MDA_UPSTREAM_PROXY", "ja"),
        ("MESSAGE_SIZE_LIMIT", "many"),
        ("MAILNAME", "-bad-.example.org"),
        ("REVERSE_PROXY", "nginx"),
        ("PUBLIC_PORTS", "some"),
        ("MTA_DIRECT_CLIENTS", "perhaps"),
        ("DB_DRIVER", "oracle"),
        ("RELAYHOST", "[1.2.3"),
        ("RECIPIENT_DELIMITER", "@"),
        ("POSTMASTER", "nobody"),
    ],
)
@pytest.mark.parametrize("command", [("config", "check"), ("up", "--detach")], ids="-".join)
def test_a_bad_value(idle: Instance, variable: str, value: str, command: tuple[str, ...]) -> None:
    """The user would have to guess which of thirty variables is wrong."""
    idle.settings[variable] = value
    said = refused(idle, *command)
    assert variable in said
    assert value in said


def test_every_problem_at_once(idle: Instance) -> None:
    """Mending one to be told of the next is a bad evening."""
    idle.settings |= {
        "TRUSTED_PROXIES": "10.0.0.0/33",
        "MDA_UPSTREAM_PROXY": "ja",
        "MESSAGE_SIZE_LIMIT": "x",
    }
    said = refused(idle, "config", "check")
    assert {"TRUSTED_PROXIES", "MDA_UPSTREAM_PROXY", "MESSAGE_SIZE_LIMIT"} <= set(
        said.replace(":", " ").split()
    )


def test_an_upstream_proxy_without_trust(idle: Instance) -> None:
    """Nobody would be let in, or everybody believed."""
    idle.settings |= {"REVERSE_PROXY": "none", "MTA_UPSTREAM_PROXY": "true"}
    assert "TRUSTED_PROXIES" in refused(idle, "up", "--detach")


def test_trust_that_overlaps_relaying(idle: Instance) -> None:
    """The proxy's whole network would relay: an open relay."""
    idle.settings |= {"TRUSTED_PROXIES": "10.0.0.0/16", "MYNETWORKS": "10.0.5.0/24"}
    said = refused(idle, "up", "--detach")
    assert "MYNETWORKS" in said
    assert "10.0.5.0/24" in said


def test_an_internal_address_that_would_hang(idle: Instance) -> None:
    """Webmail would time out with no word in any log."""
    idle.settings["MDA_IMAP_ADDRESS"] = f"{idle.addresses.service}:31143"
    said = refused(idle, "up", "--detach")
    assert "PROXY" in said
    assert "32143" in said


@pytest.mark.parametrize("command", [("config", "check"), ("up", "--detach")], ids="-".join)
@pytest.mark.parametrize(
    "line", ['TRUSTED_PROXIES="10.0.0.1', "TRUSTED_PROXIES: 10.0.0.1", "- TRUSTED_PROXIES=10.0.0.1"]
)
def test_a_line_that_cannot_be_read(idle: Instance, line: str, command: tuple[str, ...]) -> None:
    """The server would start without it, trusting and listening otherwise than it was told."""
    (idle.home / ".env").write_text(f"POSTMASTER=admin@example.org\n{line}\n")
    said = refused(idle, *command)
    assert '".env", line 2' in said
    assert line in said


@pytest.mark.parametrize("command", [("config", "check"), ("up", "--detach")], ids="-".join)
@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"PUBLIC_BIND_ADDRESS": "192.0.2.1"}, "192.0.2.1"),
        ({"SERVICE_BIND_ADDRESS": "2001:db8::1"}, "2001:db8::1"),
        ({"TLS_CERT_FILE": "/nowhere.crt", "TLS_KEY_FILE": "/nowhere.key"}, "/nowhere.key"),
        ({"RELAYHOST": "[127.0.0.1]:9", "RELAY_PASSWD_FILE": "/nowhere"}, "/nowhere"),
        ({"RELAYHOST": "[127.0.0.1]:9", "RELAY_PASSWD_FILE": "/etc/hostname"}, "RELAY_PASSWD_FILE"),
        ({"RELAYHOST": "[127.0.0.1]:nosuch"}, "nosuch"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8 192.0.2.0/24"}, "commas separate"),
        ({"GATEPOST_HOME": "/etc/hostname"}, "/etc/hostname"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_up_refuses_is_found_by_the_check(
    idle: Instance, settings: dict[str, str], word: str, command: tuple[str, ...]
) -> None:
    """The check would say that all is right, and the start would fail."""
    idle.settings |= settings
    assert word in refused(idle, *command)


def test_a_certificate_that_cannot_serve(idle: Instance, tmp_path: Path) -> None:
    """Every mail program would refuse the server, and the log would not say why."""
    authority = issue("Test R3", authority=True)
    own = issue("mail.example.org", authority)
    cert, key = own.write(tmp_path, authority)
    _, other_key = issue("mail.example.org").write(tmp_path / "other")
    nothing, text = tmp_path / "nothing.crt", tmp_path / "text.crt"
    text.write_text("hello")
    turned, cut = tmp_path / "turned.pem", tmp_path / "cut.pem"
    turned.write_text(authority.pem + own.pem)
    cut.write_text(cert.read_text()[:-100])
    for given, its_key, word in (
        (cert, other_key, "match"),
        (nothing, key, "nothing.crt"),
        (text, key, "text.crt"),
        (turned, key, 'begins with the certificate of "Test R3"'),
        (cut, key, "its end is missing"),
    ):
        idle.settings |= {"TLS_CERT_FILE": str(given), "TLS_KEY_FILE": str(its_key)}
        assert word in refused(idle, "up", "--detach"), (given, its_key)


def test_a_good_certificate_is_served(tmp_path: Path) -> None:
    """The control: what was bought must be what clients see."""
    cert, key = issue("mail.example.org").write(tmp_path)
    with instance({"TLS_CERT_FILE": str(cert), "TLS_KEY_FILE": str(key)}) as server:
        for listener in ("imaps", "pop3s", "submissions"):
            assert ssl.get_server_certificate(server.public(listener)) == cert.read_text()


def test_accounts_that_cannot_be(behind_traefik: Instance) -> None:
    """A typing mistake would make a mailbox that nobody can reach."""
    server = behind_traefik
    bad_mailboxes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
        (("mailbox", "add", "a@nowhere.example"), ("nowhere.example", "domain add")),
        (("mailbox", "add", "alice@example.org"), ("alice@example.org", "exists")),
        (("mailbox", "add", "not-an-address"), ("not-an-address",)),
        (("mailbox", "add", "a b@example.org"), ("a b@example.org",)),
        (("mailbox", "add", "a@example.org", "--quota", "lots"), ("lots",)),
        (("mailbox", "passwd", "ghost@example.org"), ("ghost@example.org",)),
    )
    for arguments, words in bad_mailboxes:
        done = server.run(*arguments, "--password-stdin", stdin="secret password")
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr, done.stderr
    others: tuple[tuple[tuple[str, ...], str], ...] = (
        (("alias", "add", "sales@example.org", "bob@example.org"), "sales@example.org"),
        (("alias", "add", "x@nowhere.example", "bob@example.org"), "nowhere.example"),
        (("alias", "add", "loop@example.org", "loop@example.org"), "loop@example.org"),
        (("domain", "add", "example.org"), "example.org"),
        (("domain", "add", "exa mple"), "exa mple"),
        (("domain", "remove", "nowhere.example"), "nowhere.example"),
        (("mailbox", "remove", "ghost@example.org"), "ghost@example.org"),
    )
    for arguments, word in others:
        done = server.run(*arguments)
        assert done.returncode == 2, done
        assert word in done.stderr


def test_without_root(idle: Instance) -> None:
    """The failure would come later, half way through."""
    idle.home.chmod(0o777)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(PROGRAM), "up"],
        env=idle.environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "Permission denied" in done.stderr and "setpriv" in done.stderr:
        pytest.fail("the virtual environment must be readable by everybody for this test")
    assert done.returncode == 2, done
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_packages_are_named_with_the_command(idle: Instance, tmp_path: Path) -> None:
    """The user would see that some program was not found, and not how to get it."""
    dpkg = tmp_path / "dpkg-query"
    dpkg.write_text("#!/bin/sh\nexit 1\n")
    dpkg.chmod(0o755)
    environment = idle.environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(PROGRAM), "up", "--detach"],
        env=environment,
        cwd=idle.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done
    assert "postfix-sqlite" in done.stderr
    assert "gatepost packages --install" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("upp",), ("up", "--detached"), ("mailbox", "add"), ("logs", "--lines")],
    ids="-".join,
)
def test_a_wrong_call(idle: Instance, arguments: tuple[str, ...]) -> None:
    """A typing mistake must not look like success."""
    assert "Error: " in refused(idle, *arguments)
