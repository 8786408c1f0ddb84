"""The proof of what surrounds the server: internal addresses, trusted proxies, clients' addresses.

One server behind Traefik is broken and mended in turn.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from accounts import ALICE, populate
from breaking import ask_no_name_server
from clients import lenient, read_until
from instance import Instance, instance
from proving import Report, verify

from gatepost.proxy_protocol import build_1
from gatepost.verify.catalogue import CHECKS

INTERNAL = {"imap", "imaps", "pop3", "pop3s", "smtp", "submission"}
MINE = ("internal-address", "trust-breadth", "shared-address")
ONLY_MINE = [word for name in MINE for word in ("--only", name)]


@pytest.fixture(scope="module")
def own() -> Iterator[Instance]:
    """Run a server that these tests may break."""
    with instance() as server:
        ask_no_name_server(server)
        populate(server)
        yield server


@contextlib.contextmanager
def settings(server: Instance, **changed: str) -> Iterator[None]:
    """Run the server with other settings for as long as the block lasts."""
    before = dict(server.settings)
    server.settings.update(changed)
    try:
        server.up()
        ask_no_name_server(server)
        yield
    finally:
        server.settings.clear()
        server.settings.update(before)
        server.up()
        ask_no_name_server(server)


@contextlib.contextmanager
def topology(server: Instance, **changed: Any) -> Iterator[None]:
    """Change what is on record of the running server: settings refuse what would hang."""
    file = server.home / "config" / "current" / "plan.json"
    before = file.read_text()
    record = json.loads(before)
    clients = changed.pop("clients", {})
    for name, (host, port) in clients.items():
        record["topology"]["clients"][name] = {"host": host, "port": port}
    record["topology"].update(changed)
    file.write_text(json.dumps(record))
    try:
        yield
    finally:
        file.write_text(before)


def row(report: Report, check: str, listener: str = "server") -> dict[str, Any]:
    """Return the one row of a check and listener."""
    (found,) = [r for r in report.of(check) if r["listener"] == listener]
    return found


# --- clients of other addresses -------------------------------------------------------------------

_ports = itertools.count(20_000)


def visit(address: tuple[str, int], client: str, *, login: bool = False) -> None:
    """Be the proxy of a client that says hello to Dovecot, or logs in."""
    with socket.create_connection(address, 15) as plain:
        plain.sendall(build_1((client, next(_ports)), ("203.0.113.250", 143)))
        stream: socket.socket = plain
        read_until(stream, b"* OK")
        if login:
            stream.sendall(b"a STARTTLS\r\n")
            read_until(stream, b"a OK")
            stream = lenient().wrap_socket(plain)
            stream.sendall(f'b LOGIN "{ALICE[0]}" "{ALICE[1]}"\r\n'.encode())
            read_until(stream, b"b OK")
        stream.sendall(b"c LOGOUT\r\n")
        with contextlib.suppress(ssl.SSLError):
            while stream.recv(4096):
                pass


def visits(server: Instance, count: int, *clients: str, login: bool = False) -> None:
    """Let clients come in turn, to a log in which nobody else has been."""
    os.truncate(server.log_file, 0)
    address = server.service("imap")
    for number in range(count):
        visit(address, clients[number % len(clients)], login=login)
    server.wait_for_log(f"rip={clients[(count - 1) % len(clients)]},")


# --- a healthy server -----------------------------------------------------------------------------


def test_a_healthy_server_behind_its_proxy_passes(own: Instance) -> None:
    """A false alarm would teach admins to ignore the report."""
    visits(own, 24, *(f"203.0.113.{last}" for last in range(1, 13)))
    report = verify(own)
    # It shows a certificate that it signed itself.
    unproven = {(r["check"], r["status"]) for r in report.findings if r["status"] != "pass"}
    assert unproven == {("tls", "risk")}, report
    assert report.exit_code == 3
    assert {r["check"] for r in report.findings} == {check.name for check in CHECKS}
    internal = report.of("internal-address", status="pass")
    assert {r["listener"] for r in internal} == INTERNAL, report
    assert all(r["observed"].startswith("by the internal listener: 127.") for r in internal)
    lines = {r["listener"]: r["witness"] for r in internal}
    assert "postfix/internal-smtp/smtpd" in lines["smtp"]
    assert ", lport=32993," in lines["imaps"]
    trust = row(report, "trust-breadth")
    assert (trust["status"], trust["observed"]) == (
        "pass",
        "seen: 127.0.0.1 (this machine); nobody else is trusted",
    )
    assert "127.0.0.1:" in trust["witness"]
    shared = row(report, "shared-address")
    assert (shared["status"], shared["observed"]) == ("pass", "24 sessions from 12 addresses")
    assert "rip=203.0.113.12," in shared["witness"]


def test_a_healthy_server_without_a_proxy_passes(own: Instance) -> None:
    """There nobody is trusted, and nobody need be."""
    with settings(own, REVERSE_PROXY="none"):
        report = verify(own)
    assert report.failed == set(), report
    assert len(report.of("internal-address", status="pass")) == len(INTERNAL)
    trust = row(report, "trust-breadth")
    assert (trust["status"], trust["observed"]) == ("pass", "no port takes a PROXY header")


# --- internal-address -----------------------------------------------------------------------------


def test_internal_addresses_that_lead_nowhere(own: Instance) -> None:
    """Webmail and Sieve would fail one by one, each in words of its own."""
    nobody = f"{own.addresses.outside}:9143"
    host, port = own.public("imaps")
    wrong_port = own.internal("imap")[1]
    with settings(
        own,
        MDA_IMAP_ADDRESS=nobody,
        MDA_POP3_ADDRESS="pop3.gone.invalid:110",
        MDA_IMAPS_ADDRESS=f"{host}:{port}",
        MDA_POP3S_ADDRESS=f"{own.addresses.service}:{wrong_port}",
        MTA_SMTP_ADDRESS="localhost:9",
    ):
        report = verify(own)
    assert report.failed == {"internal-address"}, report
    failed = {r["listener"]: r for r in report.of("internal-address", status="fail")}
    assert set(failed) == {"imap", "pop3", "pop3s", "smtp"}, report
    assert failed["imap"]["observed"] == f"{nobody}: connection refused"
    assert f"MDA_IMAP_ADDRESS={own.addresses.service}:32143" in failed["imap"]["fix"]
    assert "pop3.gone.invalid does not resolve" in failed["pop3"]["observed"]
    assert "MDA_POP3_ADDRESS=" in failed["pop3"]["fix"]
    assert failed["pop3"]["family"] == "-"
    assert "Another program or protocol" in failed["pop3s"]["fix"]
    assert "connection refused" in failed["smtp"]["observed"]
    assert "MTA_SMTP_ADDRESS=" in failed["smtp"]["fix"]
    through = row(report, "internal-address", "imaps")
    assert through["observed"] == f"through the proxy: {host}:{port}"
    assert f", lport={port}," in through["witness"]


def test_an_internal_address_at_a_port_that_demands_a_header(own: Instance) -> None:
    """It hangs, and nobody sees why: the one mistake that the row exists for."""
    places = {name: own.service(name) for name in ("imap", "pop3s", "submission")}
    with (
        forwarder(own.service("imaps")) as elsewhere,
        topology(own, clients={**places, "imaps": elsewhere}),
    ):
        report = verify(own)
    assert report.failed == {"internal-address"}, report
    failed = {r["listener"]: r for r in report.of("internal-address", status="fail")}
    assert set(failed) == {*places, "imaps"}, report
    for name, found in failed.items():
        assert "the port demands a PROXY header; without one, " in found["observed"], found
        assert "with a PROXY header it says: " in found["witness"], found
        assert "hang" in found["fix"]
        assert f"={own.internal(name)[0]}:{own.internal(name)[1]}" in found["fix"]
    assert "It is the service port of pop3s." in failed["pop3s"]["fix"]


@contextlib.contextmanager
def forwarder(target: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Lead to another port, as a Service that Gatepost knows nothing of does."""

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while more := one.recv(65536):
                other.sendall(more)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one = stack.enter_context(server.accept()[0])
                    other = stack.enter_context(socket.create_connection(target, 15))
                    other.settimeout(None)
                    for pair in ((one, other), (other, one)):
                        threads.append(threading.Thread(target=pump, args=pair, daemon=True))
                        threads[-1].start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


# --- trust-breadth --------------------------------------------------------------------------------


def test_trust_for_all_of_loopback_is_a_risk(own: Instance) -> None:
    """Traefik comes from one address; sixteen million others may forge as well."""
    with settings(own, TRUSTED_PROXIES="127.0.0.0/8"):
        report = verify(own)
    assert report.failed == set(), report
    found = row(report, "trust-breadth")
    assert found["status"] == "risk"
    assert found["observed"] == (
        "proxies seen: 127.0.0.1 (this machine); trusted and not seen: "
        "127.0.0.0/8 (16,777,215 addresses)"
    )
    assert "TRUSTED_PROXIES=127.0.0.1 and" in found["fix"]


def test_no_proxy_to_be_seen_proves_nothing(own: Instance) -> None:
    """A proxy of one's own rests when nobody comes, and trust in anybody must not pass."""
    listeners = json.loads((own.home / "config" / "current" / "plan.json").read_text())
    hidden = [{**bound, "public": []} for bound in listeners["topology"]["listeners"]]
    address = own.public("imap")
    with topology(own, listeners=hidden):
        report = verify(own, *ONLY_MINE)
        assert row(report, "trust-breadth")["status"] == "not_proven"
        assert "sport = :31143" in row(report, "trust-breadth")["fix"]
        internal = report.of("internal-address", status="pass")
        assert len(internal) == len(INTERNAL), "they need no proxy whose address is known"
        with socket.create_connection(address, 15) as client:
            assert client.recv(4096)
            seen = row(verify(own, *ONLY_MINE), "trust-breadth")
    assert (seen["status"], "127.0.0.1:" in seen["witness"]) == ("pass", True)


# --- shared-address -------------------------------------------------------------------------------


def test_one_address_for_every_client_is_a_risk(own: Instance) -> None:
    """NAT before the proxy: whoever is blocked, everybody is."""
    visits(own, 25, "203.0.113.5")
    report = verify(own)
    assert report.failed == set(), report
    found = row(report, "shared-address")
    assert found["status"] == "risk"
    assert found["observed"] == "25 sessions from one address: 203.0.113.5"
    assert "rip=203.0.113.5," in found["witness"]
    assert "externalTrafficPolicy: Local" in found["fix"]


def test_the_proxys_own_address_for_every_client_fails(own: Instance) -> None:
    """Then no client's address arrives, whatever the proxy says."""
    visits(own, 20, "203.0.113.7", login=True)
    with topology(own, trusted_proxies=["127.0.0.1/32", "203.0.113.7/32"]):
        report = verify(own)
    assert report.failed == {"shared-address"}, report
    found = row(report, "shared-address")
    assert "203.0.113.7, which TRUSTED_PROXIES holds" in found["observed"]
    assert row(report, "trust-breadth")["status"] == "risk", "nobody connects from there"


def test_health_checks_and_few_clients_prove_nothing(own: Instance) -> None:
    """A new server has no clients yet, and its proxy's checks are none."""
    visits(own, 30, "203.0.113.7")
    with topology(own, trusted_proxies=["127.0.0.1/32", "203.0.113.7/32"]):
        found = row(verify(own, *ONLY_MINE), "shared-address")
    assert found["status"] == "not_proven"
    assert found["observed"] == "no clients but this machine's own came lately"
    visits(own, 19, "203.0.113.8", "203.0.113.9")
    found = row(verify(own, *ONLY_MINE), "shared-address")
    assert (found["status"], found["observed"]) == (
        "not_proven",
        "only 19 sessions from 2 addresses lately",
    )
