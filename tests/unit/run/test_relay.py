"""The login at a relay host."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.registry import load
from gatepost.run import relay


def problems(tmp_path: Path, text: str, host: str = "[smtp.example.net]:587") -> list[str]:
    file = tmp_path / "relay"
    file.write_text(text)
    given = {"MAILNAME": "mx.example.org", "RELAYHOST": host, "RELAY_PASSWD_FILE": str(file)}
    return relay.problems(load(given))


@pytest.mark.parametrize(
    "text",
    [
        "[smtp.example.net]:587 me:secret\n",
        "# mine\n\n[SMTP.example.net]:587\tme@example.org:with:colons and spaces\n",
        "smtp.example.net me:secret\n",
        "[other.example]:25 you:other\n[smtp.example.net]:587 me:secret",
    ],
)
def test_a_login_for_the_relay_host(tmp_path: Path, text: str) -> None:
    """A file that works would be refused."""
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "[smtp.example.net]:465 me:secret\n"])
def test_no_login_for_the_relay_host(tmp_path: Path, text: str) -> None:
    """Each message would wait for days: the relay host wants a login, and none is sent."""
    (problem,) = problems(tmp_path, text)
    assert 'no login for RELAYHOST, which is "[smtp.example.net]:587"' in problem
    assert "secret" not in problem


def test_mx_hosts_have_names_of_their_own(tmp_path: Path) -> None:
    """A login for the host that the MX record names would be refused."""
    assert problems(tmp_path, "mx1.example.net me:secret\n", "example.net") == []


@pytest.mark.parametrize("line", ["me:secret", "[smtp.example.net]:587 secret", "x y:"])
def test_a_line_that_is_no_login(tmp_path: Path, line: str) -> None:
    """Postfix passes over such a line without a word; a password is never repeated."""
    (problem,) = problems(tmp_path, f"# mine\n{line}\n")
    assert "line 2 of" in problem
    assert "secret" not in problem


def test_the_documentations_login(tmp_path: Path) -> None:
    """The relay host would refuse it, and all mail wait."""
    (problem,) = problems(tmp_path, "[smtp.example.net]:587 user:password\n")
    assert "still has the login of the documentation" in problem


def test_a_missing_file(tmp_path: Path) -> None:
    """`up` would end with the words of postmap."""
    given = {
        "MAILNAME": "mx.example.org",
        "RELAYHOST": "[smtp.example.net]:587",
        "RELAY_PASSWD_FILE": str(tmp_path / "none"),
    }
    (problem,) = relay.problems(load(given))
    assert problem.startswith(f'RELAY_PASSWD_FILE: "{tmp_path / "none"}" cannot be read')


def test_a_relay_host_that_nobody_knows() -> None:
    """A typing mistake in its name would be noticed by the queue only."""
    found = relay.unfound(load({"MAILNAME": "mx.example.org", "RELAYHOST": "[nowhere.invalid]:25"}))
    assert len(found) == 1
    assert "nowhere.invalid" in found[0]


@pytest.mark.parametrize("host", ["[127.0.0.1]:25", "[localhost]:25", "[::1]:25", "example.net"])
def test_a_relay_host_that_is_found(host: str) -> None:
    """A warning that is none would hide the one that is."""
    assert relay.unfound(load({"MAILNAME": "mx.example.org", "RELAYHOST": host})) == []


@pytest.mark.parametrize("relayhost", ["[smtp.example.net]:nosuch", "smtp.example.net:nosuch"])
def test_a_port_that_is_no_service(relayhost: str) -> None:
    """Postfix would put off every message: "unknown service"."""
    (problem,) = relay.problems(load({"MAILNAME": "mx.example.org", "RELAYHOST": relayhost}))
    assert "nosuch" in problem
    assert problem.endswith(f"RELAYHOST={relayhost.replace('nosuch', '587')}")


@pytest.mark.parametrize("relayhost", ["[a.test]:submission", "[fd00::1]:25", "[fd00::abc]"])
def test_a_port_that_is_one(relayhost: str) -> None:
    """A relay host that works would be refused."""
    assert relay.problems(load({"MAILNAME": "mx.example.org", "RELAYHOST": relayhost})) == []
