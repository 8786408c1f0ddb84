"""More connections than anybody needs, from one client and from a thousand."""

from __future__ import annotations

import contextlib
import imaplib
import re
import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
from accounts import ALICE, BOB, PASSWORD
from breaking import ask_no_name_server
from clients import From, message, wait_for_mail
from instance import Instance, instance
from logins import Ports, public_ports
from stuck_clients import LISTENERS, Crowd, silent

SESSIONS = 5
A_MINUTE = 20
HOUSEHOLD = 50
"""Sessions of one mailbox that Dovecot lets one address have."""
FLOODER, NEIGHBOUR = "127.0.0.91", "127.0.0.92"
MANAGESIEVE = 800
"""Connections before a login that the two managesieve-login processes can hold."""

EXPLAINED = (
    # docs/explanation/hostile-input.md says of each of these what it is.
    r"refused, limit: more than \d+ connections",
    r"Maximum number of connections from user\+IP exceeded",
    r"process_limit \(\d+\) reached, client connections are being dropped",
    r"Connection queue full",
)
"""What the log may say of limits."""
_LIMIT = re.compile(
    r"limit|exceed|too many|queue full|out of memory|cannot allocate|fatal|panic", re.IGNORECASE
)


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server behind Traefik that lets one client have little."""
    settings = {
        "MTA_CLIENT_CONNECTIONS": str(SESSIONS),
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": str(A_MINUTE),
    }
    with instance(settings) as made:
        made.call("domain", "add", "example.org")
        for address in (ALICE[0], BOB[0]):
            made.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
        ask_no_name_server(made)
        yield made


@pytest.fixture(scope="module")
def ports(server: Instance) -> Ports:
    """Return where the listeners are."""
    return public_ports(server)


def greetings(crowd: Crowd) -> Counter[str]:
    """Return what the clients of a crowd are greeted with, by its first word."""
    found: Counter[str] = Counter()
    for stream in crowd.streams:
        stream.settimeout(20)
        with contextlib.suppress(OSError):
            found[stream.recv(500).decode().partition(" ")[0]] += 1
    return found


@pytest.mark.parametrize("listener", ["smtp", "submission"])
def test_one_client_is_told_that_it_is_too_much(
    server: Instance, ports: Ports, listener: str
) -> None:
    """One infected computer would take the mail server from everybody behind the same proxy."""
    flooder = f"127.0.1.{len(listener)}"
    mark = server.mark()
    with Crowd() as inside, Crowd() as crowd:
        inside.join(ports, [(silent, listener, flooder)] * SESSIONS)
        assert greetings(inside) == {"220": SESSIONS}
        # The gate looks which connections are still there four times a second at most.
        time.sleep(0.5)
        crowd.join(ports, [(silent, listener, flooder)] * (A_MINUTE - 2 - SESSIONS))
        assert greetings(crowd) == {"421": A_MINUTE - 2 - SESSIONS}
        From(NEIGHBOUR).visit(ports[listener], listener, (ALICE[0], PASSWORD))
    line = server.wait_for_log("refused, limit", f"client [{flooder}]", since=mark)
    assert f"more than {SESSIONS} connections at the same time" in line
    with Crowd() as crowd:
        crowd.join(ports, [(silent, listener, flooder)] * 5)
        # None of them is there any more: what counts now is how many there were in a minute.
        assert greetings(crowd)["421"] >= 3
    From(NEIGHBOUR).visit(ports[listener], listener, (ALICE[0], PASSWORD))


def test_one_reader_is_told_that_it_is_too_much(server: Instance, ports: Ports) -> None:
    """A mail program gone mad would use up every session, its user's telephone included."""
    mark, inside, refusals = server.mark(), 0, []
    with contextlib.ExitStack() as stack:
        for _ in range(HOUSEHOLD + 5):
            try:
                client = From(FLOODER).imap(ports["imaps"], ALICE, implicit=True)
                stack.enter_context(client)
                inside += 1
            except imaplib.IMAP4.error as error:
                refusals.append(str(error))
        assert (inside, len(refusals)) == (HOUSEHOLD, 5)
        assert all("Maximum number of connections" in said for said in refusals), refusals
        for source, user in ((NEIGHBOUR, ALICE), (FLOODER, BOB)):
            From(source).visit(ports["imap"], "imap", user)
    server.wait_for_log(f"rip={FLOODER}", "Maximum number of connections from user", since=mark)


def test_a_thousand_clients_shut_nobody_out(server: Instance, ports: Ports) -> None:
    """A botnet would need no more than an afternoon's connections to keep a company silent."""
    before = services(server)
    mark = server.mark()
    with Crowd() as crowd:
        for listener, count in (
            ("imaps", 400),
            ("pop3", 200),
            ("sieve", MANAGESIEVE + 100),
            ("smtp", 100),
        ):
            members = [
                (silent, listener, f"127.44.{number // 250}.{number % 250 + 1}")
                for number in range(count)
            ]
            crowd.join(ports, members)
        for listener in LISTENERS:
            begun = time.monotonic()
            From(NEIGHBOUR).visit(ports[listener], listener, (ALICE[0], PASSWORD))
            assert time.monotonic() - begun < 10, listener
    assert unexplained(server, mark) == []
    assert services(server) == before


def test_afterwards_all_is_as_before(server: Instance, ports: Ports) -> None:
    """The flood would be over, and the server still be busy with it, or dead in a corner."""
    deadline = time.monotonic() + 30
    while open_connections(server):
        assert time.monotonic() < deadline, open_connections(server)
        time.sleep(0.2)
    for listener in LISTENERS:
        From("127.0.0.93").visit(ports[listener], listener, (ALICE[0], PASSWORD))
    with From("127.0.0.94").smtp(ports["smtp"]) as smtp:
        smtp.send_message(message(to=BOB[0], subject="after the flood"))
    wait_for_mail(ports["imap"], BOB, "after the flood", seconds=60)
    # An IPv6 address in brackets is no style of the table's, which may break it at a colon.
    assert f"[{server.addresses.public6.partition(':')[0]}:" in server.call("status")
    status = server.status()
    assert status["ready"]
    assert all(row["restarts"] == 0 for row in status["services"])
    assert not zombies(server)
    assert unexplained(server, 0) == []


def test_control_a_limit_that_is_not_explained_is_seen(server: Instance) -> None:
    """The search in the log would find nothing, whatever the log says."""
    for line in (
        "dovecot | imap: Error: service(imap): client_limit (1) reached",
        "postfix | fatal: too many open files",
    ):
        assert not_explained([line]) == [line]
    assert not_explained(["gate | x refused, limit: more than 5 connections a minute"]) == []
    assert server.log_file.exists()


def not_explained(lines: list[str]) -> list[str]:
    return [
        line
        for line in lines
        if _LIMIT.search(line) and not any(re.search(known, line) for known in EXPLAINED)
    ]


def unexplained(server: Instance, since: int) -> list[str]:
    """Return what the log says of limits and nobody has explained."""
    return not_explained(server.log(since).splitlines())


def services(server: Instance) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in server.status()["services"]}


def processes(server: Instance) -> list[psutil.Process]:
    supervisor = psutil.Process(services(server)["dovecot"]).parent()
    assert supervisor
    return supervisor.children(recursive=True)


def zombies(server: Instance) -> list[psutil.Process]:
    """Return processes that have ended and that nobody has waited for, but for a moment's."""

    def seen() -> set[psutil.Process]:
        found = set()
        for process in processes(server):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended and waited for meanwhile
                if process.status() == psutil.STATUS_ZOMBIE:
                    found.add(process)
        return found

    before = seen()
    time.sleep(1)
    return sorted(before & seen(), key=lambda process: process.pid)


def open_connections(server: Instance) -> list[str]:
    """Return the connections from the flood that somebody still holds."""
    found: list[str] = []
    for process in processes(server):
        with contextlib.suppress(psutil.Error):
            found += (
                f"{process.name()} {connection.raddr.ip} {connection.status}"
                for connection in process.net_connections("tcp")
                if connection.raddr and connection.raddr.ip.startswith("127.44.")
            )
    return found
