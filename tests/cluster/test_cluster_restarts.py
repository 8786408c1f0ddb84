"""Pods that go and come back: nothing that was taken is lost, and nobody has to help."""

from __future__ import annotations

import socket
from imaplib import IMAP4
from poplib import error_proto

import pytest
from accounts import BOB
from cluster_clients import PORTS, door, read, send, speak
from mail_cluster import DATABASE, MDA, MTA, TRAEFIK

from cluster import Cluster, Machine


def silent(stream: socket.socket) -> bool:
    """Tell whether nobody greets."""
    stream.settimeout(2)
    try:
        return not stream.recv(100)
    except OSError:
        return True


def test_mail_waits_for_a_mail_store_that_is_away(
    mail: Cluster, sender: Machine, reader: Machine
) -> None:
    """A node that is drained would cost mail, or send it back."""
    since = mail.mark(MTA)
    mail.stop(MDA)
    try:
        assert mail.pods[MTA].ready, "the MTA takes mail without the mail store"
        subject = send(sender)
        mail.wait_for_log(MTA, f"to=<{BOB[0]}>", "status=deferred", since=since, seconds=30)
        # The control: nobody reads mail now.
        with sender.client() as client, client.raw(door("imap", 4)) as stream:
            assert silent(stream)
    finally:
        mail.settle()
    mail.wait_ready(MDA, seconds=40)
    assert subject.encode() in read(reader, subject, seconds=60)


def test_the_queue_outlives_its_pod(mail: Cluster, sender: Machine, reader: Machine) -> None:
    """What was acknowledged with 250 is on the volume, not in the pod."""
    mail.stop(MDA)
    try:
        subject = send(sender)
        mail.restart(MTA)
        mail.wait_ready(MTA, seconds=40)
    finally:
        mail.settle()
    mail.wait_ready(MTA, MDA, seconds=40)
    assert subject.encode() in read(reader, subject, seconds=90)


def test_a_killed_mail_store_comes_back_with_its_mail(
    mail: Cluster, sender: Machine, reader: Machine
) -> None:
    """A node that loses power stops nothing in order."""
    subject = send(sender)
    read(reader, subject)
    before = mail.pods[MDA].restarts
    mail.pods[MDA].main.stop(0)
    mail.wait(lambda: mail.pods[MDA].restarts > before, lambda: "nobody started it again", 30)
    mail.wait_ready(MDA, seconds=40)
    assert subject.encode() in read(reader, subject)


@pytest.mark.parametrize("name", [TRAEFIK, MTA, MDA, DATABASE])
def test_clients_are_seen_again_after_a_restart(mail: Cluster, sender: Machine, name: str) -> None:
    """A new pod has a new address; what remembered the old one would stay dead."""
    before, since = mail.pods[name].host.ipv4, mail.mark(MDA)
    if name == MDA:
        assert speak(mail, sender, "submissions").seen(mail)
    mail.restart(name)
    mail.wait_ready(TRAEFIK, DATABASE, MTA, MDA, seconds=60)
    assert mail.pods[name].host.ipv4 != before
    if name == DATABASE:
        # However short the outage was, Dovecot has ended the connections that led nowhere.
        mail.wait_for_log(MDA, "dovecot reloaded", since=since, seconds=30)

    if name == MDA:
        # The login relay connects to the mail store anew for each login.
        assert speak(mail, sender, "submissions").seen(mail), "the first login counts"

    def all_seen() -> bool:
        try:
            return all(bool(speak(mail, sender, listener).seen(mail)) for listener in PORTS)
        except (OSError, EOFError, IMAP4.error, error_proto):
            return False

    mail.wait(all_seen, lambda: mail.log(name)[-3000:], 30)
