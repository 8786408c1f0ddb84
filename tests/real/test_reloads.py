"""After a change the very next session sees the new value, on each daemon and listener.

Before each change sessions leave processes behind that wait for the next client with what they
read when they began.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from clients import From
from instance import CLIENT, Instance, instance

from gatepost.proxy_protocol import build_2

PROXY = "127.0.0.9"
TIMES = 4
"""A process with old values takes a part of the sessions only."""
LISTENERS = ("smtp", "submission", "imap", "pop3", "sieve")
HEADER = build_2(("203.0.113.7", 4711), ("192.0.2.1", 25))


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server behind the test as its proxy."""
    settings = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "MDA_UPSTREAM_PROXY": "yes",
        "TRUSTED_PROXIES": PROXY,
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0",
    }
    with instance(settings) as found:
        yield found


def ehlo(address: tuple[str, int], source: str, header: bytes = b"") -> str:
    """Say EHLO and return what the server offers."""
    with socket.create_connection(address, 10, source_address=(source, 0)) as stream:
        stream.sendall(header)
        with stream.makefile("rwb") as session:
            assert session.readline().startswith(b"220 ")
            session.write(b"EHLO client.test\r\n")
            session.flush()
            said = b""
            while not re.search(rb"(?m)^250 ", said):
                said += session.readline()
            session.write(b"QUIT\r\n")
            session.flush()
            assert session.readline().startswith(b"221 ")
    return said.decode()


def greeting(address: tuple[str, int], source: str, header: bytes = b"") -> str:
    """Return what a server says first."""
    with socket.create_connection(address, 10, source_address=(source, 0)) as stream:
        stream.sendall(header)
        return stream.recv(4096).decode()


def applied(server: Instance, **settings: str) -> None:
    """Change settings, and see that they were taken by a reload and no restart."""
    before = {row["name"]: row["pid"] for row in server.status()["services"]}
    server.settings.update(settings)
    server.call("up", "--detach")
    assert {row["name"]: row["pid"] for row in server.status()["services"]} == before


WAYS = tuple((listener, way) for way in ("service", "internal") for listener in LISTENERS)


def greeted(server: Instance, listener: str, way: str) -> str:
    """Open a session by a way and return what the server says of itself."""
    address = server.service(listener) if way == "service" else server.internal(listener)
    source, header = (PROXY, HEADER) if way == "service" else (CLIENT, b"")
    smtp = listener in {"smtp", "submission"}
    return (ehlo if smtp else greeting)(address, source, header)


def test_the_next_session_has_the_new_values(server: Instance) -> None:
    """A limit, a network or a certificate would be the old one for some of the clients."""
    for number in range(TIMES):
        name, size = f"mail{number}.example.org", 1_000_000 + number
        # The control: processes that have the old values, and wait.
        for listener, way in WAYS:
            said = greeted(server, listener, way)
            assert name not in said
            assert f"SIZE {size}" not in said
        applied(server, MAILNAME=name, MESSAGE_SIZE_LIMIT=str(size))
        for listener, way in WAYS:
            said = greeted(server, listener, way)
            assert name in said, f"{listener} {way} in round {number}"
            assert f"SIZE {size}" in said or listener not in {"smtp", "submission"}


def test_the_gate_judges_the_next_client_by_the_new_value(server: Instance) -> None:
    """A network that is no longer trusted would be believed once more."""
    address = server.service("smtp")
    for number in range(TIMES):
        newcomer = f"127.0.1.{number + 1}"
        assert greeting(address, newcomer).startswith("421 ")
        applied(server, TRUSTED_PROXIES=f"{PROXY},{newcomer}")
        assert greeting(address, newcomer, HEADER).startswith("220 ")
        applied(server, TRUSTED_PROXIES=PROXY)
        assert greeting(address, newcomer, HEADER).startswith("421 ")


def test_open_sessions_live_on(server: Instance) -> None:
    """The control: a restart would show new values too, and cut everybody off."""
    with (
        From(CLIENT).smtp(server.internal("smtp")) as smtp,
        From(CLIENT).raw(server.internal("imap")) as imap,
    ):
        assert imap.recv(4096).startswith(b"* OK")
        applied(server, MESSAGE_SIZE_LIMIT="2000000")
        applied(server, MAILNAME="lives-on.example.org")
        assert smtp.noop()[0] == 250
        imap.sendall(b"a NOOP\r\n")
        assert b"a OK" in imap.recv(4096)
