"""The MTA and the MDA as two containers on a network of their own, and somebody who writes mail.

They share the folder of accounts and find each other by name, as in ``deploy/compose.yaml``. The
writer is the trusted proxy as well: it says for whom it connects, in a PROXY header.
"""

from __future__ import annotations

import contextlib
import imaplib
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from containers import HOME, Container, Setup, container
from network import Host, Network

DOMAIN = "example.org"
ANNA = f"anna@{DOMAIN}"
PASSWORD = "a long pass word"
VISITOR = "203.0.113.7"
"""Who the writer says it is."""
SMTP, SUBMISSION, IMAP = 31025, 31587, 31143

_NAME = "writer.elsewhere.test"
"""Given, so that nobody looks for it: there is no name server."""
_ADDRESSES = {
    "mta": ("10.42.0.2", "fd00:42::2"),
    "mda": ("10.42.0.3", "fd00:42::3"),
    "client": ("10.42.0.4", "fd00:42::4"),
}


def _with_header(address: tuple[str, int], seconds: float | None) -> socket.socket:
    """Connect as the proxy does (PROXY protocol version 1)."""
    opened = socket.create_connection(address, seconds)
    opened.sendall(f"PROXY TCP4 {VISITOR} {address[0]} 40000 {address[1]}\r\n".encode())
    return opened


class _Smtp(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return _with_header((host, port), timeout)


class _Imap(imaplib.IMAP4):
    def _create_socket(self, timeout: float | None) -> socket.socket:
        return _with_header((self.host, self.port), timeout)


def hosts(net: Network) -> Mapping[str, Host]:
    """Connect a host for each container and one for the writer."""
    return {name: net.attach(name, *addresses) for name, addresses in _ADDRESSES.items()}


def setup(
    service: str, folder: Path, capabilities: tuple[str, ...] | None = None, **settings: str
) -> Setup:
    """Return how one of the two is run, with volumes below a folder."""
    volumes = {HOME: folder / service, f"{HOME}/accounts": folder / "accounts"}
    for path in volumes.values():
        path.mkdir(parents=True, exist_ok=True)
    return Setup(
        service,
        environment={
            "MAILNAME": f"mail.{DOMAIN}",
            "MTA_UPSTREAM_PROXY": "true",
            "MDA_UPSTREAM_PROXY": "true",
            "TRUSTED_PROXIES": f"{_ADDRESSES['client'][0]}/32",
            **settings,
        },
        volumes=volumes,
        # As a Kubernetes Service would lead there from port 25.
        hosts={f"{name}-internal": _ADDRESSES[name][0] for name in ("mta", "mda")},
        capabilities=capabilities,
    )


@dataclass
class Pair:
    """Two containers that are one mail server; see `pair`."""

    mta: Container
    mda: Container
    client: Host
    folder: Path

    @property
    def both(self) -> tuple[Container, Container]:
        """The containers."""
        return self.mta, self.mda

    def add_accounts(self) -> None:
        """Make the domain and its mailbox."""
        self.mda.call("gatepost", "domain", "add", DOMAIN)
        words = ("mailbox", "add", ANNA, "--password-stdin")
        self.mda.call("gatepost", *words, stdin=PASSWORD)

    def send(self, subject: str) -> None:
        """Give a message to the MTA, as another server does."""
        letter = f"From: x@elsewhere.test\nTo: {ANNA}\nSubject: {subject}\n\nHello.\n"
        with self.client.inside(), _Smtp(_ADDRESSES["mta"][0], SMTP, _NAME, 20) as smtp:
            smtp.sendmail("x@elsewhere.test", ANNA, letter)

    def submit(self, subject: str) -> None:
        """Give a message to the MTA, as the owner of a mailbox does: under a login."""
        letter = f"From: {ANNA}\nTo: {ANNA}\nSubject: {subject}\n\nHello.\n"
        address = (_ADDRESSES["mta"][0], SUBMISSION)
        with self.client.inside(), _Smtp(*address, _NAME, 20) as smtp:
            smtp.starttls(context=_any_certificate())
            smtp.login(ANNA, PASSWORD)
            smtp.sendmail(ANNA, ANNA, letter)

    def subjects(self) -> list[str]:
        """Log in to the MDA and return the subjects of all that is in the mailbox."""
        with self.client.inside(), _Imap(_ADDRESSES["mda"][0], IMAP, timeout=20) as imap:
            imap.starttls(_any_certificate())
            imap.login(ANNA, PASSWORD)
            imap.select("INBOX", readonly=True)
            _, found = imap.fetch("1:*", "(BODY[HEADER.FIELDS (SUBJECT)])")
        texts = [row[1].decode() for row in found if isinstance(row, tuple)]
        return [text.partition(":")[2].strip() for text in texts]

    def wait_for(self, subject: str, seconds: float = 20) -> None:
        """Wait until a message is in the mailbox."""
        until(lambda: subject in self.subjects(), f"{subject} delivered", seconds)


def until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def pair(
    images: Mapping[str, str],
    places: Mapping[str, Host],
    folder: Path,
    capabilities: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Pair]:
    """Run both, ready and with a mailbox, for as long as the block lasts."""
    chosen = capabilities or {}
    setups = {name: setup(name, folder, chosen.get(name)) for name in ("mta", "mda")}
    with (
        container(setups["mda"], images, places["mda"]) as mda,
        container(setups["mta"], images, places["mta"]) as mta,
    ):
        made = Pair(mta, mda, places["client"], folder)
        for one in made.both:
            one.wait_ready()
        made.add_accounts()
        yield made
