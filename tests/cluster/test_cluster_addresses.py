"""The main promise in a cluster: behind the real Traefik, every daemon sees the client itself.

A client's connection goes the reference's way: the load balancer's port, Traefik's entry point, the
IngressRouteTCP, the Service, the pod. What Postfix and Dovecot log is the witness.
"""

from __future__ import annotations

import email
import re

import pytest
from accounts import BOB
from cluster_clients import PORTS, door, read, send, speak
from mail_cluster import MDA, MTA

from cluster import NODE, Cluster, Machine


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("listener", PORTS)
def test_the_daemon_logs_the_clients_address(
    mail: Cluster, sender: Machine, listener: str, family: int
) -> None:
    """Bans, block lists and spam filters would judge Traefik's pod instead of the client."""
    assert speak(mail, sender, listener, family).seen(mail)


@pytest.mark.parametrize("family", [4, 6])
def test_mail_from_one_machine_is_read_on_another(
    mail: Cluster, sender: Machine, reader: Machine, family: int
) -> None:
    """This is what the whole deployment is for: SMTP, LMTP between the pods, IMAP and POP3."""
    marks = mail.mark(MTA), mail.mark(MDA)
    subject = send(sender, family=family)
    received = email.message_from_bytes(read(reader, subject, family=family))
    client = sender.host.addresses[family == 6]
    literal = f"IPv6:{client}" if family == 6 else client
    assert f"[{literal}]" in received.get_all("Received", [])[-1]

    handed_over = mail.wait_for_log(MTA, "to=<bob@example.org>", "status=sent", since=marks[0])
    assert re.search(r"relay=mda-internal\[\S+\]:2003, ", handed_over)

    with (
        reader.client(family) as machine,
        machine.pop3(door("pop3s", family), BOB, implicit=True) as pop3,
    ):
        count = len(pop3.list()[1])
        texts = [b"\n".join(pop3.retr(number + 1)[1]) for number in range(count)]
    assert any(subject.encode() in text for text in texts)
    mail.wait_for_log(
        MDA,
        "pop3-login",
        f"user=<{BOB[0]}>",
        f" rip={reader.host.addresses[family == 6]}, ",
        since=marks[1],
    )


def test_the_clients_address_is_lost_without_the_local_traffic_policy(
    mail: Cluster, sender: Machine
) -> None:
    """What values.yaml sets is what keeps the address; were it not, the node's would be seen."""
    service = mail.api.get("Service", "traefik-mail")
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    without = {**service, "spec": {**service["spec"], "externalTrafficPolicy": "Cluster"}}
    mail.apply(without)
    try:
        assert speak(mail, sender, "imap").seen_as(mail, NODE[0])
    finally:
        mail.apply(service)
    assert speak(mail, sender, "imap").seen(mail)
