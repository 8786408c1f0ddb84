"""What mail clients do with a server in a cluster, and what its daemons say that they saw."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts import ALICE, BOB
from clients import message, wait_for_mail
from mail_cluster import MDA, MTA

from cluster import DOOR, Cluster, Machine

PORTS = {
    "smtp": 25,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "sieve": 4190,
}
"""Listener → the port that the world knows: what Traefik's load balancer must publish."""
SMTP = ("smtp", "submission", "submissions")


@dataclass(frozen=True)
class Session:
    """A session that was opened on a listener."""

    listener: str
    client: str
    port: int
    since: int
    """The length of the pod's log before it."""

    @property
    def pod(self) -> str:
        """The pod whose log tells of it."""
        return MTA if self.listener in SMTP else MDA

    def seen_as(self, made: Cluster, client: str, *, port: int | None = None) -> str:
        """Wait for the daemon's own line that names a client; return it."""
        if self.listener in SMTP:
            words = [f"/{self.listener}/smtpd[", f" connect from unknown[{client}]:"]
            words += [f"[{client}]:{port}"] if port else []
        else:
            words = [f" Logged in: user=<{ALICE[0]}>, ", f" rip={client}, "]
            words += [f" rport={port}, "] if port else []
        return made.wait_for_log(self.pod, *words, since=self.since)

    def seen(self, made: Cluster) -> str:
        """Wait for the line that names the client as it is: its address and its port."""
        return self.seen_as(made, self.client, port=self.port)


def door(listener: str, family: int) -> tuple[str, int]:
    """Return where the world finds a listener: at the node's own addresses."""
    return DOOR[family == 6], PORTS[listener]


def speak(made: Cluster, machine: Machine, listener: str, family: int = 4) -> Session:
    """Open a session on a listener through Traefik, logged in where that is possible."""
    since = made.mark(MTA if listener in SMTP else MDA)
    with machine.client(family) as client:
        port = client.visit(door(listener, family), listener, ALICE)
        return Session(listener, client.source, port, since)


def send(machine: Machine, *, to: str = BOB[0], family: int = 4, sender: str = "") -> str:
    """Send a message to port 25, as another server does, and return its subject."""
    subject = uuid.uuid4().hex
    mail = message(to=to, subject=subject, sender=sender or "friend@outside.test")
    with machine.client(family) as client, client.smtp(door("smtp", family)) as smtp:
        smtp.send_message(mail)
    return subject


def read(machine: Machine, subject: str, *, family: int = 4, seconds: float = 15) -> bytes:
    """Read Bob's message with a subject over IMAP, waiting until it is there."""
    with machine.client(family) as client:
        return wait_for_mail(
            door("imap", family), BOB, subject, source=client.source, seconds=seconds
        )
