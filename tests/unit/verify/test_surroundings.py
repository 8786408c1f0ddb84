"""What is decided from the kernel's table and from the log's end."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from gatepost.model import Address, BoundListener, Event, IPNetwork, Observation, Status
from gatepost.plugins.postfix.listeners import SMTP
from gatepost.verify.checks import shared_address, trust_breadth
from gatepost.verify.clients.names import resolved
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.evidence import peers
from gatepost.verify.evidence.peers import Connection

HERE = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1", "192.0.2.20")))
BOUND = BoundListener(SMTP, "toy", proxied=True, public=(), service=(), internal=())


def networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# --- trust-breadth ------------------------------------------------------------------------------


def breadth(trusted: tuple[str, ...], *connected: str) -> Any:
    connections = [
        Connection(Address("192.0.2.20", 31025), Address(host, 40000 + number))
        for number, host in enumerate(connected)
    ]
    return trust_breadth.judged(networks(*trusted), connections, HERE, (BOUND,))


@pytest.mark.parametrize(
    ("trusted", "connected"),
    [
        (("127.0.0.1",), ("127.0.0.1", "127.0.0.1")),
        # One machine: whoever may connect from one of its addresses may from the others.
        (("127.0.0.1", "::1", "192.0.2.20"), ("127.0.0.1",)),
        (("10.42.0.7", "2001:db8::7"), ("10.42.0.7", "2001:db8::7")),
        (("10.42.0.6/31",), ("10.42.0.7", "10.42.0.6")),
    ],
)
def test_trust_in_the_proxies_alone_passes(
    trusted: tuple[str, ...], connected: tuple[str, ...]
) -> None:
    """A false alarm on a default install would teach admins to ignore the row."""
    assert breadth(trusted, *connected).status is Status.PASS


@pytest.mark.parametrize(
    ("trusted", "connected", "words", "line"),
    [
        (("127.0.0.0/8",), ("127.0.0.1",), "127.0.0.0/8 (16,777,215 addresses)", "127.0.0.1"),
        (("10.42.0.0/16",), ("10.42.0.7",), "10.42.0.0/16 (65,535 addresses)", "10.42.0.7"),
        (
            ("10.42.0.7", "10.42.0.8"),
            ("10.42.0.7",),
            "seen: 10.42.0.7; trusted and not seen: 10.42.0.8/32 (1 address)",
            "10.42.0.7",
        ),
        (
            ("2001:db8::/64", "10.42.0.7"),
            ("2001:db8::7", "10.42.0.7"),
            "2001:db8::/64 (about 2^64 addresses)",
            "10.42.0.7,2001:db8::7",
        ),
        # This machine's own addresses are as good as the proxy's only when the proxy is here.
        (("127.0.0.1", "10.42.0.7"), ("10.42.0.7",), "127.0.0.1/32 (1 address)", "10.42.0.7"),
        (("127.0.0.1", "::1", "10.0.0.0/8"), ("127.0.0.1",), "10.0.0.0/8", "127.0.0.1,::1"),
    ],
)
def test_wider_trust_is_a_risk_with_the_line_for_the_settings(
    trusted: tuple[str, ...], connected: tuple[str, ...], words: str, line: str
) -> None:
    """Whoever is trusted can be any client; an admin must learn who that is, and what to write."""
    found = breadth(trusted, *connected)
    assert found.status is Status.RISK
    assert words in found.observed
    assert f"TRUSTED_PROXIES={line} and" in found.fix
    assert connected[0] in found.witness


def test_nobody_connected_proves_nothing() -> None:
    """Trust in strangers must not pass because the proxies rest."""
    found = breadth(("10.42.0.0/16",))
    assert found.status is Status.NOT_PROVEN
    assert "10.42.0.0/16 (65,536 addresses)" in found.observed
    assert "sport = :31025" in found.fix


def test_a_peer_that_is_not_trusted_is_told() -> None:
    """A proxy that was moved is refused; the row shows its new address."""
    found = breadth(("10.42.0.7",), "10.42.0.7", "10.42.0.9")
    assert found.status is Status.PASS
    assert found.observed.endswith("connected and not trusted: 10.42.0.9")
    assert "10.42.0.9" in breadth(("10.42.0.7",), "10.42.0.9").observed


_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as stream:
    print(stream.getsockname()[1], flush=True)
    sys.stdin.read()
"""


def test_the_peers_of_a_port_are_those_of_other_programs() -> None:
    """Probes knock there as well, and would be taken for proxies."""
    with (
        socket.create_server(("127.61.7.1", 0)) as server,
        socket.create_server(("127.61.7.2", server.getsockname()[1])) as other,
    ):
        address = Address(*server.getsockname())
        child = [sys.executable, "-c", _CLIENT, address.host, str(address.port)]
        with (
            socket.create_connection(server.getsockname()) as own,
            socket.create_connection(other.getsockname()),
            subprocess.Popen(
                child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process,
        ):
            assert process.stdout
            port = int(process.stdout.readline())
            assert port != own.getsockname()[1]
            found = peers.connected([address])
            everywhere = peers.connected([Address("0.0.0.0", address.port)])
            process.communicate()
        assert found == {Connection(address, Address("127.0.0.1", port))}
        assert everywhere == found
        assert peers.connected([address]) == frozenset(), "it has left"


# --- shared-address -----------------------------------------------------------------------------


def came(client: str, port: int, event: Event = Event.CONNECT, **more: Any) -> Observation:
    return Observation("toy", event, client, port, more.pop("user", None), f"{client} came", **more)


def shared(said: list[Observation], trusted: tuple[str, ...] = ("10.42.0.0/24",)) -> Any:
    return shared_address.judged(said, networks(*trusted), HERE)


def crowd(sessions: int, *clients: str, **more: Any) -> list[Observation]:
    return [came(clients[n % len(clients)], 1024 + n, **more) for n in range(sessions)]


def test_clients_of_several_addresses_pass_with_their_number() -> None:
    """What an admin sees should tell how much it rests on."""
    clients = [f"203.0.113.{n}" for n in range(12)]
    twice = [*crowd(31, *clients), *crowd(31, *clients, event=Event.DISCONNECT)]
    found = shared(twice)
    assert (found.status, found.observed) == (Status.PASS, "31 sessions from 12 addresses")


def test_one_address_for_all_is_a_risk() -> None:
    """Behind NAT every client is the same: block lists and limits hit everybody or nobody."""
    found = shared(crowd(20, "10.0.0.1"))
    assert found.status is Status.RISK
    assert found.observed == "20 sessions from one address: 10.0.0.1"
    assert "externalTrafficPolicy: Local" in found.fix


def test_one_private_address_for_a_whole_family_is_a_risk() -> None:
    """Docker's proxy hides IPv6 clients only; the others would hide that."""
    v4 = [f"8.8.4.{n}" for n in range(9)]
    found = shared([*crowd(30, *v4), *crowd(20, "fd00::1")])
    assert found.status is Status.RISK
    assert found.observed == "20 sessions from one address: fd00::1"
    household = shared([*crowd(30, *v4), *crowd(20, "2a00:1450::1")])
    assert household.status is Status.PASS


def test_a_proxy_in_place_of_its_clients_fails() -> None:
    """Then no client's address arrives at all."""
    found = shared(crowd(25, "10.42.0.7", event=Event.LOGIN))
    assert found.status is Status.FAIL
    assert "10.42.0.7, which TRUSTED_PROXIES holds" in found.observed


@pytest.mark.parametrize(
    "said",
    [
        crowd(19, "203.0.113.1", "203.0.113.2"),
        crowd(50, "127.0.0.1", "127.0.0.77", "::1", "192.0.2.20"),
        crowd(50, "10.42.0.7"),  # a health check, which logs in nowhere
        crowd(50, "10.0.0.9", internal=True),
        crowd(50, "10.0.0.9", event=Event.LOGIN, user="probe-1@verify.gatepost.invalid"),
        crowd(50, "10.0.0.9", event=Event.REFUSED),
        crowd(50, "unknown"),
        [],
    ],
)
def test_who_is_no_client_proves_nothing(said: list[Observation]) -> None:
    """Health checks, probes and webmail come from one address everywhere."""
    assert shared(said).status is Status.NOT_PROVEN


def test_addresses_that_this_machine_had_are_its_own() -> None:
    """IPv6 addresses change every day, and yesterday's probes would pass for clients."""
    probe = "probe-1@verify.gatepost.invalid"
    ours = [*crowd(40, "2a00::5"), came("2a00::5", 9, Event.LOGIN, user=probe)]
    assert shared([*ours, *crowd(30, "2a00::6")]).observed.startswith("30 sessions from one")
    assert shared(ours).status is Status.NOT_PROVEN
    # Whoever shares the probes' address with them, behind NAT, is a client all the same.
    both = [*ours, came("2a00::5", 10, Event.LOGIN, user="alice@example.org")]
    assert shared(both).observed == "41 sessions from one address: 2a00::5"


def test_better_days_do_not_hide_what_is_now() -> None:
    """A change to the cluster on a busy server would stay unseen until the log is rotated."""
    before = crowd(500, *(f"203.0.113.{n}" for n in range(50)))
    assert shared([*crowd(200, "10.0.0.1"), *before]).status is Status.RISK


# --- names --------------------------------------------------------------------------------------


def test_a_name_server_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system waits for half a minute; the whole proof has ten seconds."""

    def hang(*_: object, **__: object) -> list[object]:
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(ProbeError, match="does not resolve: no name server"):
        resolved(Address("mail.example.org", 143), began + 0.2)
    assert time.monotonic() - began < 1


def test_names_and_numbers_resolve() -> None:
    """Addresses may be written either way."""
    deadline = time.monotonic() + 5
    assert resolved(Address("::1", 143), deadline) == ["::1"]
    assert "127.0.0.1" in resolved(Address("localhost", 143), deadline)
    with pytest.raises(ProbeError, match="does not resolve"):
        resolved(Address("a" * 70 + ".test", 143), deadline)
