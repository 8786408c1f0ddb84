"""Many sessions at once, and what one client may have of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from accounts import ALICE, populate
from instance import Instance, instance

from gatepost.proxy_protocol import build_2

PROXY = "127.0.0.1"
"""As client too: "localhost" is a name that Postfix finds without a name server."""
CROWD = 130
"""More than Dovecot has processes of a kind, as long as nothing else is said, and than Postfix
would serve of one client."""


@pytest.fixture(scope="module")
def unlimited() -> Iterator[Instance]:
    """Run a server that limits no client, behind a proxy that is the test."""
    settings = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "TRUSTED_PROXIES": PROXY,
        "MTA_CLIENT_CONNECTIONS": "0",
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "0",
    }
    with instance(settings) as server:
        populate(server)
        yield server


def ask(stream: socket.socket, *lines: str) -> str:
    """Say lines one after the other; return the last answer."""
    answer = b""
    for line in lines:
        stream.sendall(f"{line}\r\n".encode())
        answer = stream.recv(4096)
    return answer.decode()


def test_a_crowd_of_senders_is_served(unlimited: Instance) -> None:
    """On a busy day mail would trickle: each session would wait for a question about quotas."""
    address, mark = unlimited.service("smtp"), unlimited.mark()
    with contextlib.ExitStack() as stack:
        streams = []
        for number in range(CROWD):
            stream = stack.enter_context(
                socket.create_connection(address, 20, source_address=(PROXY, 0))
            )
            stream.sendall(build_2((PROXY, 1024 + number), address))
            streams.append(stream)
        # One client, and more of it than the 50 sessions that Postfix would let it have.
        assert {stream.recv(500)[:3] for stream in streams} == {b"220"}
        for stream in streams:
            said = ask(
                stream,
                "EHLO client.test",
                "MAIL FROM:<friend@outside.test>",
                f"RCPT TO:<{ALICE[0]}>",
            )
            assert said.startswith("250"), said
    trouble = [line for line in unlimited.log(mark).splitlines() if "problem talking" in line]
    assert not trouble, trouble[:3]


def test_a_client_is_limited_where_no_gate_stands() -> None:
    """The same setting would mean nothing on a server without a proxy."""
    with (
        instance({"REVERSE_PROXY": "none", "MTA_CLIENT_CONNECTIONS": "3"}) as server,
        contextlib.ExitStack() as stack,
    ):
        address = server.service("smtp")

        def greeted(source: str) -> bytes:
            stream = socket.create_connection(address, 20, source_address=(source, 0))
            return stack.enter_context(stream).recv(500)[:3]

        assert [greeted("127.0.0.1") for _ in range(4)] == [b"220", b"220", b"220", b"421"]
        assert greeted("127.0.0.79") == b"220"
