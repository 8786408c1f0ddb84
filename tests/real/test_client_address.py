"""The main promise: every daemon sees the client's own address, on every listener."""

from __future__ import annotations

import email
import uuid

import pytest
from accounts import ALICE
from clients import From, lenient, message, wait_for_mail
from instance import CLIENT, CLIENT6, Instance

from gatepost.proxy_protocol import build_1

SMTP = ("smtp", "submission", "submissions")
READING = ("imap", "imaps", "pop3", "pop3s", "sieve")
FAMILIES = {4: CLIENT, 6: CLIENT6}


def speak(server: Instance, listener: str, family: int) -> int:
    """Open a session on a listener, log in where that is possible; return the client's port."""
    address, client = server.public(listener, family=family), From(FAMILIES[family])
    return client.visit(address, listener, ALICE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("listener", [*SMTP, *READING])
def test_the_daemon_logs_the_clients_address(server: Instance, listener: str, family: int) -> None:
    """Bans, block lists and spam filters would judge the proxy instead of the client."""
    mark = server.mark()
    port = speak(server, listener, family)
    client = FAMILIES[family]
    if listener in SMTP:
        line = server.wait_for_log(f"connect from unknown[{client}]:{port}", since=mark)
        assert "postfix" in line
    else:
        line = server.wait_for_login(ALICE[0], client, since=mark)
        assert f"rport={port}" in line


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("listener", SMTP)
def test_the_received_header_of_port_25_names_the_client(
    server: Instance, listener: str, family: int
) -> None:
    """SPF checks of a later filter read this header; on submission it must not be there at all."""
    subject, client = uuid.uuid4().hex, FAMILIES[family]
    address = server.public(listener, family=family)
    if listener == "smtp":
        with From(client).smtp(address) as smtp:
            smtp.send_message(message(to=ALICE[0], subject=subject))
    else:
        with From(client).submission(address, ALICE, implicit=listener == "submissions") as smtp:
            smtp.send_message(message(to=ALICE[0], sender=ALICE[0], subject=subject))
    raw = wait_for_mail(server.public("imap"), ALICE, subject)
    received = email.message_from_bytes(raw).get_all("Received", [])
    named = [header for header in received if client in header]
    if listener == "smtp":
        assert len(named) == 1, received
        assert "127.0.0.1" not in named[0]
    else:
        assert client.encode() not in raw, raw


def test_policy_judges_the_client_and_not_the_proxy(server: Instance) -> None:
    """A proxy inside a relaying network would open the relay to the world."""
    address = server.public("smtp")
    with From("127.0.0.78").smtp(server.internal("smtp")) as smtp:
        smtp.mail("friend@outside.test")
        assert smtp.rcpt("somebody@outside.test")[0] == 250
    with From("127.0.0.78").smtp(address) as smtp:
        smtp.mail("friend@outside.test")
        # Behind a proxy the address is the proxy's word only.
        direct = server.settings.get("REVERSE_PROXY") == "none"
        assert smtp.rcpt("somebody@outside.test")[0] == (250 if direct else 554)
    with From(CLIENT).smtp(address) as smtp:
        smtp.mail("friend@outside.test")
        code, words = smtp.rcpt("somebody@outside.test")
        assert code == 554, words
    with From("127.0.0.1").smtp(address) as smtp:
        smtp.mail("friend@outside.test")
        assert smtp.rcpt("somebody@outside.test")[0] == 554


def test_a_message_is_read_back_over_every_protocol(server: Instance) -> None:
    """This is what the whole program is for."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ALICE[0], subject=subject, body="Grüße.\n"))
    wait_for_mail(server.public("imap"), ALICE, subject)
    reader = "127.0.0.79"
    for listener in ("imap", "imaps", "pop3", "pop3s"):
        mark = server.mark()
        raw = _read(server, listener, reader, subject)
        mail = email.message_from_bytes(raw)
        assert f"[{CLIENT}]" in mail["Received"] or any(
            f"[{CLIENT}]" in header for header in mail.get_all("Received", [])
        )
        server.wait_for_login(ALICE[0], reader, since=mark)


def _read(server: Instance, listener: str, source: str, subject: str) -> bytes:
    address, implicit = server.public(listener), listener.endswith("s")
    if listener.startswith("imap"):
        return wait_for_mail(address, ALICE, subject, source=source, implicit=implicit)
    with From(source).pop3(address, ALICE, implicit=implicit) as pop3:
        for number in range(len(pop3.list()[1]), 0, -1):
            raw = b"\r\n".join(pop3.retr(number)[1])
            if subject.encode() in raw:
                return raw
    raise AssertionError(f"no message with subject {subject} over {listener}")


def test_internal_listeners_take_no_proxy_header(server: Instance) -> None:
    """Our own clients would be refused, or a neighbour could claim an address there."""
    mark = server.mark()
    with From(CLIENT).smtp(server.internal("smtp")) as smtp:
        port = smtp.sock.getsockname()[1] if smtp.sock else 0
    server.wait_for_log(f"connect from unknown[{CLIENT}]:{port}", since=mark)
    with From(CLIENT).imap(server.internal("imap"), ALICE):
        pass
    server.wait_for_login(ALICE[0], CLIENT, since=mark)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("listener", ["imap", "imaps", "pop3", "pop3s", "sieve"])
def test_dovecot_refuses_a_header_from_a_stranger(
    behind_traefik: Instance, listener: str, family: int
) -> None:
    """Any neighbour could pose as any address. What the gate does is in test_gate.py."""
    forged = build_1(("127.0.0.2", 1234), ("127.0.0.1", 143))
    # To an IPv6 address of its own the kernel connects from that very address.
    proxy6 = behind_traefik.addresses.service6
    proxy, stranger = {4: ("127.0.0.1", "127.0.0.66"), 6: (proxy6, CLIENT6)}[family]
    for source, welcome in ((proxy, True), (stranger, False)):
        with From(source).raw(behind_traefik.service(listener, family=family)) as stream:
            stream.sendall(forged)
            try:
                if listener.endswith("s"):
                    with lenient().wrap_socket(stream) as tls:
                        greeted = bool(tls.recv(200))
                else:
                    greeted = bool(stream.recv(200))
            except OSError:
                greeted = False
        assert greeted is welcome, (source, listener)
