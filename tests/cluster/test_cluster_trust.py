"""Who may say who a client is: Traefik's pod and nobody else, with NetworkPolicies and without."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from cluster_clients import PORTS, SMTP, door
from mail_cluster import MDA, MTA, TRAEFIK

from cluster import Cluster, Machine
from gatepost.proxy_protocol import build_2

BACKENDS = {
    "smtp": 31025,
    "submission": 31587,
    "submissions": 31465,
    "imap": 31143,
    "imaps": 31993,
    "pop3": 31110,
    "pop3s": 31995,
    "sieve": 31190,
}
"""Listener → its service port in the pod, where PROXY headers are read."""
IMPLICIT = {"submissions", "imaps", "pop3s"}
FORGED = ("198.51.100.99", "2001:db8:51::99")
"""Addresses that nobody has."""


@pytest.fixture
def unfiltered(mail: Cluster) -> Iterator[None]:
    """Be a cluster whose network knows no NetworkPolicies, as there are."""
    mail.policies = False
    mail.settle()
    try:
        yield
    finally:
        mail.policies = True
        mail.settle()


@pytest.fixture
def neighbour(mail: Cluster) -> Machine:
    """Return a pod that is not the proxy, within TRUSTED_PROXIES."""
    return mail.machine("neighbour", "10.42.0.200", "fd00:42::200")


@pytest.fixture
def stranger(mail: Cluster) -> Machine:
    """Return a pod on another node, outside TRUSTED_PROXIES."""
    return mail.machine("stranger", "10.42.1.200", "fd00:42:1::200")


def address(mail: Cluster, listener: str, family: int) -> tuple[str, int]:
    """Return where a pod takes connections with PROXY headers."""
    pod = mail.pods[MTA if listener in SMTP else MDA]
    return pod.host.addresses[family == 6], BACKENDS[listener]


def forge(mail: Cluster, machine: Machine, listener: str, family: int) -> bytes:
    """Claim to be a client without being the proxy; return what was answered."""
    to = address(mail, listener, family)
    header = build_2((FORGED[family == 6], 40000), to)
    said = b""
    with machine.client(family) as client, client.raw(to) as stream:
        stream.settimeout(3)
        with contextlib.suppress(ConnectionError, TimeoutError):
            stream.sendall(header)
            said = stream.recv(200)
    return said


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("listener", PORTS)
def test_only_traefik_comes_to_service_ports(
    mail: Cluster, neighbour: Machine, stranger: Machine, listener: str, family: int
) -> None:
    """Every pod of the range could claim to be any client."""
    mail.settle()
    for machine in (neighbour, stranger):
        with machine.host.inside(), pytest.raises(TimeoutError):
            socket.create_connection(address(mail, listener, family), 0.3)
    # The control: the same port, from the pod whose label the policy names.
    with mail.pods[TRAEFIK].host.inside():
        socket.create_connection(address(mail, listener, family), 3).close()


@pytest.mark.parametrize("family", [4, 6])
def test_nobody_asks_the_database_but_the_mail_server(
    mail: Cluster, neighbour: Machine, family: int
) -> None:
    """Password hashes of all accounts are there."""
    mail.settle()
    database = (mail.pods["postgresql-0"].host.addresses[family == 6], 5432)
    with neighbour.host.inside(), pytest.raises(TimeoutError):
        socket.create_connection(database, 0.3)
    for name in (MTA, MDA):
        with mail.pods[name].host.inside():
            socket.create_connection(database, 3).close()


@pytest.mark.usefixtures("unfiltered")
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("listener", PORTS)
def test_without_policies_a_stranger_is_not_believed(
    mail: Cluster, stranger: Machine, listener: str, family: int
) -> None:
    """Many networks of clusters enforce no policy, and say nothing about it."""
    pod = MTA if listener in SMTP else MDA
    since = mail.mark(pod)
    said = forge(mail, stranger, listener, family)
    own = stranger.host.addresses[family == 6]
    if pod == MTA:
        assert not said or said.startswith(b"421 4.7.0"), said
    else:
        assert not said
        mail.wait_for_log(MDA, "Client not trusted", f"rip={own}", since=since)
    assert FORGED[family == 6] not in mail.log(pod)[since:]


@pytest.mark.usefixtures("unfiltered")
@pytest.mark.parametrize("listener", ["smtp", "imap"])
def test_control_without_policies_a_pod_of_the_range_is_believed(
    mail: Cluster, neighbour: Machine, listener: str
) -> None:
    """This is why the range has to be Traefik's own, and what the policy keeps away."""
    since = mail.mark(MTA if listener in SMTP else MDA)
    said = forge(mail, neighbour, listener, 4)
    assert said.startswith((b"220 ", b"* OK "))
    mail.wait_for_log(MTA if listener in SMTP else MDA, FORGED[0], since=since)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("listener", sorted(set(PORTS) - IMPLICIT))
def test_a_header_that_comes_through_traefik_is_the_clients_words(
    mail: Cluster, sender: Machine, listener: str, family: int
) -> None:
    """Whoever sends a header of its own first would choose its address."""
    pod = MTA if listener in SMTP else MDA
    since = mail.mark(pod)
    to = door(listener, family)
    header = build_2((FORGED[family == 6], 40000), to)
    with (
        sender.client(family) as client,
        client.raw(to) as stream,
        contextlib.suppress(ConnectionError, TimeoutError),
    ):
        stream.sendall(header + b"\r\nQUIT\r\n")
        stream.settimeout(1)
        while stream.recv(4096):
            pass
    own = sender.host.addresses[family == 6]
    mail.wait_for_log(pod, own, since=since)
    assert FORGED[family == 6] not in mail.log(pod)[since:]
