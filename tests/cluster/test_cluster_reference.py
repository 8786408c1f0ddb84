"""The reference document's commands and addresses, word for word, in a cluster that runs."""

from __future__ import annotations

import json
import re
import socket

import pytest
from accounts import ALICE
from cluster_clients import PORTS, door
from mail_cluster import MDA, MTA, TRAEFIK

from cluster import Cluster, Machine

BANNERS = {25: b"220 mail.example.org ESMTP", 587: b"220 mail.example.org ESMTP", 143: b"* OK ["}
"""Port that the document looks at with telnet → how the server begins."""

INTERNAL = {
    "MDA_IMAP_ADDRESS": ("traefik-internal:33143", "imap"),
    "MDA_IMAPS_ADDRESS": ("traefik-internal:33993", "imaps"),
    "MDA_POP3_ADDRESS": ("traefik-internal:33110", "pop3"),
    "MDA_POP3S_ADDRESS": ("traefik-internal:33995", "pop3s"),
    "MTA_SMTP_ADDRESS": ("traefik-internal:3325", "smtp"),
    "MTA_SMTP_SUBMISSION_ADDRESS": ("traefik-internal:33587", "submission"),
}
"""The document's variable → its value, and the listener that is to be found there."""

_BEHIND = """
import os, socket, ssl
host, port = os.environ["{variable}"].rsplit(":", 1)
stream = socket.create_connection((host, int(port)), 10)
if {implicit}:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = context.wrap_socket(stream)
print(stream.getsockname()[1], stream.recv(200))
"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", BANNERS)
def test_telnet_shows_a_banner(mail: Cluster, sender: Machine, port: int, family: int) -> None:
    """``telnet your-domain.com 25``: the look that the document ends with."""
    address = (door("smtp", family)[0], port)
    with sender.client(family) as client, client.raw(address) as stream:
        assert stream.recv(200).startswith(BANNERS[port]), mail.log(TRAEFIK)[-2000:]


def test_control_a_port_without_an_entry_point_shows_nothing(
    mail: Cluster, sender: Machine
) -> None:
    """Something else would answer in the mail server's place."""
    assert 2525 not in PORTS.values()
    with sender.client() as client, pytest.raises(ConnectionRefusedError):
        client.raw((door("smtp", 4)[0], 2525)).__enter__()
    assert TRAEFIK in mail.pods


def test_kubectl_lists_the_routes(mail: Cluster) -> None:
    """``kubectl get ingressroutetcp``."""
    lines = mail.kubectl(*["get", "ingressroutetcp"]).splitlines()
    assert lines[0].split() == ["NAME", "AGE"]
    assert {line.split()[0] for line in lines[1:]} == {f"ingress-{name}" for name in PORTS}


def test_kubectl_shows_traefiks_log(mail: Cluster) -> None:
    """``kubectl logs -l app.kubernetes.io/name=traefik``, and no error is in it."""
    said = mail.kubectl(*["logs", "-l", "app.kubernetes.io/name=traefik", "--tail=-1"])
    assert re.search(r"Starting provider .*crd\.Provider", said), said
    assert not re.search(r"\bERR\b.*(ingress-|mta|mda)", said), said
    # Without --tail, as the document has it, kubectl shows the end of the same.
    short = mail.kubectl(*["logs", "-l", "app.kubernetes.io/name=traefik"])
    assert short
    assert said.endswith(short)


@pytest.mark.parametrize("pod", [MTA, MDA])
@pytest.mark.parametrize("variable", INTERNAL)
def test_internal_addresses_lead_through_traefik(mail: Cluster, variable: str, pod: str) -> None:
    """A program beside the server finds it where the variables say, and is seen as itself."""
    value, listener = INTERNAL[variable]
    assert f"{variable}={value}\n" in mail.pods[pod].main.run("env")
    daemon = MTA if listener in {"smtp", "submission"} else MDA
    since, log = mail.mark(daemon), mail.mark(TRAEFIK)
    script = _BEHIND.format(variable=variable, implicit=listener in {"imaps", "pop3s"})
    said = mail.pods[pod].main.run("/opt/gatepost/bin/python", "-c", script)
    port, banner = said.strip().split(" ", 1)
    assert re.match(r"b'(220 mail\.example\.org|\* OK |\+OK )", banner)
    client = mail.pods[pod].host.addresses
    if daemon == MTA:
        line = mail.wait_for_log(MTA, f"/{listener}/smtpd[", " connect from ", since=since)
        assert any(f"[{ip}]:{port}" in line for ip in client), line
    else:
        protocol = listener.removesuffix("s")
        line = mail.wait_for_log(MDA, f"{protocol}-login", "rip=", since=since)
        assert any(f" rip={ip}, " in line for ip in client), line
    assert "ERR" not in mail.log(TRAEFIK)[log:]


@pytest.mark.parametrize("listener", PORTS)
def test_internal_services_need_no_header(mail: Cluster, listener: str) -> None:
    """Services of this project speak with each other without the proxy, and say who they are."""
    daemon = MTA if listener in {"smtp", "submission", "submissions"} else MDA
    service = mail.api.get("Service", f"{daemon.removesuffix('-0')}-internal")
    other = MDA if daemon == MTA else MTA
    client = Machine(mail.pods[other].host)
    since = mail.mark(daemon)
    with client.client() as inside:
        address = service["spec"]["clusterIP"], PORTS[listener]
        port = inside.visit(address, listener, ALICE)
        source = inside.source
    if daemon == MTA:
        mail.wait_for_log(MTA, f"[{source}]:{port}", since=since)
    else:
        mail.wait_for_log(MDA, f"user=<{ALICE[0]}>", f" rip={source}, ", since=since)


def test_services_publish_what_the_document_says(mail: Cluster) -> None:
    """``port: imap`` in a route is a name that the Service has to know."""
    for name, listeners in {
        "mta": ("smtp", "submission", "submissions"),
        "mda": ("imap", "imaps", "pop3", "pop3s", "sieve"),
    }.items():
        told = json.loads(mail.kubectl("get", "service", name, "-o", "json"))
        assert {row["name"]: row["port"] for row in told["spec"]["ports"]} == {
            listener: PORTS[listener] for listener in listeners
        }


def test_no_other_address_of_the_world_is_answered(sender: Machine, mail: Cluster) -> None:
    """What is internal would be open to everybody at the load balancer's address."""
    inside = {2003, 2004, 2005, 2006, 2007, 5432, 8080, 8143, 31025, 31143, 32025, 32143}
    for family in (4, 6):
        with sender.client(family) as client:
            for port in inside:
                with pytest.raises((ConnectionRefusedError, socket.timeout)):
                    client.raw((door("smtp", family)[0], port)).__enter__()
    assert mail.pods[MTA].ready
