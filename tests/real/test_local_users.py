"""Other users of the machine: no socket is theirs, and no port does what only Postfix may ask."""

from __future__ import annotations

import smtplib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import ALICE, populate
from clients import message, wait_for_mail
from instance import Instance, instance
from local_users import QUESTIONS, answers, listed, reached_by, ways_in

FRIEND = "friend@outside.test"
METRICS = 2006


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a whole server with the HTTP interface open, so that every socket is there."""
    with instance({"MDA_HTTP_API": "true"}) as running:
        populate(running)
        yield running


def role(server: Instance, name: str) -> Path:
    return server.home / "run" / "dovecot" / name


def test_nobody_opens_a_socket_or_finds_a_role_on_a_port(server: Instance) -> None:
    """Any local user could guess passwords without limit, and put forged mail into mailboxes."""
    ways = ways_in(server)
    assert {role(server, name) for name in QUESTIONS} < set(ways.sockets)
    assert set(ways.ports) == {*listed(server), (server.addresses.service, METRICS)}
    assert reached_by("nobody", ways) == set()


def test_whoever_may_ask_is_answered(server: Instance) -> None:
    """The control: the roles are served there, and a look that sees nothing would be blind."""
    assert all(answers(role(server, name), name) for name in QUESTIONS)
    ways = ways_in(server)
    assert set(map(str, ways.sockets)) <= reached_by("root", ways)
    allowed = reached_by("postfix", ways)
    asked = {str(role(server, name)) for name in ("lmtp", "sasl", "quota-status")}
    assert asked <= allowed
    assert str(role(server, "http")) not in allowed


def test_an_open_socket_is_noticed_and_would_take_forged_mail(server: Instance) -> None:
    """The control of the control: rights are what keeps the others out, and nothing else does."""
    path = role(server, "lmtp")
    path.chmod(0o666)
    try:
        assert reached_by("nobody", ways_in(server)) == {str(path)}
        subject = f"forged-{uuid.uuid4().hex}"
        with smtplib.LMTP(str(path)) as lmtp:
            lmtp.mail(FRIEND)
            lmtp.rcpt(ALICE[0])
            assert lmtp.data(message(to=ALICE[0], subject=subject).as_bytes())[0] == 250
        wait_for_mail(server.public("imap"), ALICE, subject)
    finally:
        path.chmod(0o600)


def test_the_http_interface_is_there_only_when_somebody_needs_it(server: Instance) -> None:
    """Whoever got hold of its key would read all mail, on a server that never used it."""
    assert answers(role(server, "http"), "http")
    server.settings["MDA_HTTP_API"] = "false"
    server.up()
    assert not answers(role(server, "http"), "http")
    assert not (server.home / "config" / "current" / "dovecot" / "api.conf").exists()
    assert not any(port == 8080 for _, port in ways_in(server).ports)
