"""One rule for the TLS that a proxy says it has ended, on every listener of both daemons.

The word of a trusted proxy takes the place of STARTTLS; a port with implicit TLS speaks TLS itself,
whatever a header says. The test is the proxy.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from accounts import ALICE, populate
from clients import lenient, message, wait_for_mail
from instance import STRANGER, Instance, instance

from gatepost.proxy_protocol import Tlv, TlvType, build_2

PROXY = "127.0.0.9"
CLIENT = "203.0.113.7"
STARTTLS = ("submission", "imap", "pop3", "sieve")
IMPLICIT = ("submissions", "imaps", "pop3s")
BY_TLS = Tlv(TlvType.SSL, b"\x01\0\0\0\0\x21\0\x07TLSv1.3")
IN_CLEAR = Tlv(TlvType.SSL, b"\x00\0\0\0\0")
TOKEN = base64.b64encode(f"\0{ALICE[0]}\0{ALICE[1]}".encode()).decode()
ASKING = {
    "submission": "EHLO client.test",
    "imap": "a CAPABILITY",
    "pop3": "CAPA",
    "sieve": "NOOP",
}
LOGIN = {
    "submission": f"AUTH PLAIN {TOKEN}",
    "imap": f"b AUTHENTICATE PLAIN {TOKEN}",
    "pop3": f"AUTH PLAIN {TOKEN}",
    "sieve": f'AUTHENTICATE "PLAIN" "{TOKEN}"',
}
END = {
    "submission": rb"(?m)^\d{3} [^\n]*\n\Z",
    "imap": rb"(?m)^[ab*] (OK|NO|BAD|BYE)[^\n]*\n\Z",
    "pop3": rb"(?m)\A(\+OK(?! ?[\r\n])[^\n]*\n|-ERR[^\n]*\n|\+OK[^\n]*\n(.*\n)*\.\r\n)\Z",
    "sieve": rb"(?m)^(OK|NO|BYE)[^\n]*\n\Z",
}
DONE = {"submission": r"^235 ", "imap": r"(?m)^b OK", "pop3": r"^\+OK", "sieve": r"(?m)^OK"}


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server behind the test as its proxy."""
    settings = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "MDA_UPSTREAM_PROXY": "yes",
        "MTA_DIRECT_CLIENTS": "accept",
        "TRUSTED_PROXIES": PROXY,
    }
    with instance(settings) as found:
        populate(found)
        yield found


class Talk:
    """A session without TLS, from its greeting on."""

    def __init__(self, stream: socket.socket, listener: str) -> None:
        """Read the greeting."""
        self.listener = listener
        self.file: BinaryIO = stream.makefile("rwb", buffering=0)  # type: ignore[assignment]
        self.greeting = self.answer()

    def answer(self) -> str:
        """Read one answer of the protocol, or what comes until the other side hangs up."""
        text = b""
        while line := self.file.readline():
            text += line
            if re.search(END[self.listener], text):
                break
        return text.decode()

    def say(self, line: str) -> str:
        """Say a line and return the answer."""
        self.file.write(f"{line}\r\n".encode())
        return self.answer()


@contextlib.contextmanager
def opened(
    server: Instance, listener: str, *tlvs: Tlv, source: str = PROXY
) -> Iterator[socket.socket]:
    """Connect as the proxy, for a client from afar."""
    header = build_2((CLIENT, 4711), ("192.0.2.1", 25), tlvs=tlvs)
    address = server.service(listener)
    with socket.create_connection(address, 10, source_address=(source, 0)) as stream:
        stream.sendall(header)
        yield stream


def offered(talk: Talk) -> str:
    """Return what the server says that it can do."""
    return talk.greeting + talk.say(ASKING[talk.listener])


def takes_logins(offer: str) -> bool:
    """Tell whether a login is offered, in any of the protocols' words."""
    words = r"AUTH=PLAIN|AUTH PLAIN|SASL PLAIN|\"SASL\" \"PLAIN"
    return bool(re.search(words, offer)) and "LOGINDISABLED" not in offer


@pytest.mark.parametrize("listener", STARTTLS)
def test_the_word_of_a_proxy_takes_the_place_of_starttls(server: Instance, listener: str) -> None:
    """Behind a proxy that ends TLS, mail could be read and not sent."""
    with opened(server, listener, BY_TLS) as stream:
        talk = Talk(stream, listener)
        assert takes_logins(offered(talk)), talk.greeting
        assert re.search(DONE[listener], talk.say(LOGIN[listener]))


@pytest.mark.parametrize("listener", STARTTLS)
@pytest.mark.parametrize("tlvs", [(), (IN_CLEAR,)], ids=["silent", "clear"])
def test_without_that_word_tls_is_demanded(
    server: Instance, listener: str, tlvs: tuple[Tlv, ...]
) -> None:
    """The control: passwords would cross the internet in clear text."""
    with opened(server, listener, *tlvs) as stream:
        talk = Talk(stream, listener)
        assert not takes_logins(offered(talk))
        assert not re.search(DONE[listener], talk.say(LOGIN[listener]))


@pytest.mark.parametrize("listener", IMPLICIT)
def test_a_port_with_implicit_tls_speaks_tls_whatever_was_said(
    server: Instance, listener: str
) -> None:
    """The first listener's rule would not be the second's."""
    with opened(server, listener, BY_TLS) as stream, lenient().wrap_socket(stream) as tls:
        assert tls.recv(100)[:4] in {b"220 ", b"* OK", b"+OK "}
    with opened(server, listener, BY_TLS) as stream:
        stream.sendall(b"NOOP\r\nNOOP\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = stream.recv(100)
        assert said[:4] not in {b"220 ", b"* OK", b"+OK "}


def test_a_strangers_word_counts_for_nothing(server: Instance) -> None:
    """Anybody on the way could have a mail program talk in clear text."""
    header = build_2((CLIENT, 4711), ("192.0.2.1", 25), tlvs=[BY_TLS])
    address = server.service("submission")
    with socket.create_connection(address, 10, source_address=(STRANGER, 0)) as stream:
        talk = Talk(stream, "submission")
        assert not takes_logins(talk.say(ASKING["submission"]))
    with socket.create_connection(address, 10, source_address=(STRANGER, 0)) as stream:
        stream.sendall(header)
        assert b"AUTH" not in stream.recv(4096)


def test_a_message_keeps_the_clients_address_to_itself(server: Instance) -> None:
    """Where one lives would stand in every message, though it does not behind another proxy."""
    with opened(server, "submission", BY_TLS) as stream:
        talk = Talk(stream, "submission")
        talk.say("EHLO client.test")
        assert talk.say(LOGIN["submission"]).startswith("235")
        for command in (f"MAIL FROM:<{ALICE[0]}>", f"RCPT TO:<{ALICE[0]}>", "DATA"):
            assert talk.say(command)[:1] in "23"
        mail = message(to=ALICE[0], sender=ALICE[0], subject="by tls to the proxy")
        talk.file.write(mail.as_bytes().replace(b"\n", b"\r\n"))
        assert talk.say(".").startswith("250")
    stored = wait_for_mail(server.internal("imap"), ALICE, "by tls to the proxy")
    assert CLIENT.encode() not in stored
    assert b"ESMTPA" in stored


def test_tls_within_the_proxys_connection_still_works(server: Instance) -> None:
    """A proxy that says nothing of TLS passes STARTTLS on."""
    with opened(server, "submission") as stream:
        talk = Talk(stream, "submission")
        talk.say("EHLO client.test")
        assert talk.say("STARTTLS").startswith("220")
        with contextlib.closing(lenient().wrap_socket(stream)) as tls:
            assert isinstance(tls, ssl.SSLSocket)
            within = Talk.__new__(Talk)
            within.listener = "submission"
            within.file = tls.makefile("rwb", buffering=0)  # type: ignore[assignment]
            assert takes_logins(within.say("EHLO client.test"))
