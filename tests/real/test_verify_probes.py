"""The proof against small servers that are honest or broken in exactly one way.

Each speaks just enough of its protocol; nothing of Gatepost's own daemons is needed, so what a
probe meets is exactly what the test says.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from issuing import issue, of_bits

from gatepost.contracts import Plugin
from gatepost.model import (
    Address,
    BoundListener,
    Certificate,
    Event,
    Finding,
    Home,
    Listener,
    Observation,
    Protocol,
    Status,
    Tls,
    Topology,
)
from gatepost.verify import catalogue, report
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.runner import prove
from gatepost.verify.subject import Subject
from gatepost.verify.targets import Approach
from gatepost.verify.vantage.here import Here

NAME = "mail.example.org"
LOGIN = Login("probe-0123456789abcdef@verify.gatepost.invalid", "secret")
LIMIT = 10.0


class Hangup(Exception):  # noqa: N818  not an error: how a session ends
    """The client left."""


@dataclass
class World:
    """Small servers, one for each listener, and what they share."""

    folder: Path
    host: str
    certificate: Certificate
    other: Certificate
    broken: dict[str, str] = field(default_factory=dict)
    """Listener → how it is broken."""
    mail: list[bytes] = field(default_factory=list)
    listeners: list[BoundListener] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    sockets: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """Where the servers say whom they saw."""
        return self.folder / "logs" / "gatepost.log"

    def start(self, *listeners: tuple[str, Protocol, Tls]) -> None:
        """Start a server for each listener."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        for name, protocol, tls in listeners:
            server = socket.create_server((self.host, 0))
            port = int(server.getsockname()[1])
            if self.broken.get(name) == "refused":
                server.close()
            else:
                self.sockets.append(server)
                self._run(partial(self._accept, server, name, protocol, tls))
            row = Listener(name, protocol, tls, port, port, port, port)
            address = (Address(self.host, port),)
            self.listeners.append(
                BoundListener(
                    row, "toy", proxied=False, public=address, service=address, internal=address
                )
            )

    def stop(self) -> None:
        """End every server and session."""
        self.stopped.set()
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self.threads:
            thread.join(5)

    def subject(self) -> Subject:
        """Return what is to be proven."""

        @contextlib.contextmanager
        def mailbox(_nonce: str) -> Iterator[Login]:
            yield LOGIN

        return Subject(
            topology=Topology(tuple(self.listeners), {}, {}, ()),
            vantage=Here(Home(self.folder)),
            mailname=NAME,
            certificate=self.certificate,
            daemons=(Plugin(name="toy", observe=observe),),
            make_mailbox=mailbox,
        )

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket, name: str, protocol: Protocol, tls: Tls) -> None:
        while not self.stopped.is_set():
            try:
                stream, peer = server.accept()
            except OSError:
                return
            self.sockets.append(stream)
            self._run(partial(self._serve, stream, peer, name, protocol, tls))

    def _serve(
        self,
        stream: socket.socket,
        peer: tuple[str, int],
        name: str,
        protocol: Protocol,
        tls: Tls,
    ) -> None:
        broken = self.broken.get(name, "")
        client = ("127.0.0.1", peer[1]) if broken == "masked" else peer[:2]
        if broken == "masked and other port":
            client = ("127.0.0.1", 9)
        with contextlib.suppress(OSError, Hangup, ValueError):
            stream.settimeout(15)
            if broken == "hang":
                self.stopped.wait(15)
            elif broken == "half-open":
                stream.close()
            elif broken == "garbage":
                stream.sendall(b"\x00\x1b[31mHTTP/1.1 400 Bad Request\r\n\r\n" * 3)
            elif broken == "trickle":
                while not self.stopped.wait(0.3):
                    stream.sendall(b"2")
            elif broken == "flood":
                while True:
                    stream.sendall(b"x" * 65536)
            else:
                with self.log.open("a") as log:
                    log.write(f"toy | saw {client[0]} {client[1]}\n")
                if broken == "slow":
                    self.stopped.wait(1.4)
                Talk(self, stream, broken, client, tls, name=name).speak(protocol)
        stream.close()


def observe(line: str) -> Observation | None:
    """Read a line of the toy servers' log."""
    found = re.fullmatch(r"saw (\S+) (\d+)", line)
    if not found:
        return None
    return Observation("toy", Event.CONNECT, found[1], int(found[2]), None, line)


class Talk:
    """One session of a toy server."""

    def __init__(
        self,
        world: World,
        stream: socket.socket,
        broken: str,
        client: tuple[str, int],
        tls: Tls,
        *,
        name: str,
    ) -> None:
        """Begin, with TLS where it comes first."""
        self.world, self.stream, self.broken = world, stream, broken
        self.client, self.tls, self.name = client, tls, name
        self.logged_in = False
        self.reader = stream.makefile("rb")
        if tls is Tls.IMPLICIT:
            self.secure()

    def secure(self) -> None:
        """Begin TLS."""
        chosen = self.world.other if self.broken == "other certificate" else self.world.certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chosen.cert_file, chosen.key_file)
        if self.broken == "outdated TLS":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = ssl.TLSVersion.TLSv1
            context.set_ciphers("ALL:@SECLEVEL=0")
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.stream = context.wrap_socket(self.stream, server_side=True)
        self.reader = self.stream.makefile("rb")

    @property
    def takes_logins(self) -> bool:
        """Tell whether a login is offered and accepted now."""
        if self.name == "smtp":
            return self.broken == "logins on 25" and isinstance(self.stream, ssl.SSLSocket)
        return isinstance(self.stream, ssl.SSLSocket) or self.broken == "logins in the clear"

    @property
    def offers_logins(self) -> bool:
        """Tell whether a login is offered now; it may be a lie."""
        return self.takes_logins or self.broken == "offer in the clear"

    def say(self, *lines: str) -> None:
        """Send lines."""
        self.stream.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        """Return the client's next line."""
        line = self.reader.readline()
        if not line:
            raise Hangup
        return line.decode().rstrip("\r\n")

    def speak(self, protocol: Protocol) -> None:
        """Hold a session."""
        {
            Protocol.SMTP: self.smtp,
            Protocol.IMAP: self.imap,
            Protocol.POP3: self.pop3,
            Protocol.SIEVE: self.sieve,
        }[protocol]()

    def smtp(self) -> None:
        """Be a server of this protocol."""
        self.say("220 toy ESMTP")
        helo = sender = ""
        while True:
            line = self.hear()
            word = line.partition(" ")[0].upper()
            if word == "EHLO":
                helo = line.split()[1]
                offer = [] if self.broken == "no STARTTLS" else ["250-STARTTLS"]
                logins = ["250-AUTH PLAIN"] if self.offers_logins else []
                self.say("250-toy", *offer, *logins, "250 8BITMIME")
            elif word == "STARTTLS":
                self.say("220 go")
                self.secure()
            elif word == "AUTH":
                self.logged_in = self.takes_logins
                self.say("235 yes" if self.logged_in else "503 5.5.1 not here, not now")
            elif word == "MAIL":
                sender = line.partition("<")[2].rstrip(">")
                self.say("250 yes")
            elif word == "DATA":
                self.say("354 go")
                self._take(helo)
                self.say("250 taken")
            elif word == "QUIT":
                self.say("221 bye")
                return
            elif word == "RCPT":
                self.say(self._judge(sender, line.partition("<")[2].rstrip(">")))
            else:
                self.say("250 yes")

    def _judge(self, sender: str, recipient: str) -> str:
        if self.broken == "refuses mail":
            return "550 5.1.1 no such user"
        if self.logged_in and sender != LOGIN.address and self.broken != "forgery":
            return "553 5.7.1 not your address"
        if recipient.partition("@")[0] in {"postmaster", "abuse"}:
            return "250 yes"
        relays = {
            "relay": True,
            "relay for postmaster": sender.startswith("postmaster@"),
            "relay by percent": "%" in recipient,
            "relay by quotes": recipient.startswith('"'),
            "relay by suffix": f"@{NAME}" in recipient,
        }
        allowed = self.logged_in or (self.name == "smtp" and recipient == LOGIN.address)
        return "250 yes" if allowed or relays.get(self.broken) else "554 5.7.1 relay access denied"

    def _take(self, helo: str) -> None:
        lines: list[bytes] = []
        while (line := self.reader.readline()) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        content = b"".join(lines)
        if self.broken == "damages mail":
            content = content.replace(b"The end.", b"The end!")
        received = f"Received: from {helo} (unknown [{self.client[0]}])\r\n\tby toy; now\r\n"
        if self.broken != "loses mail":
            self.world.mail.append(received.encode() + content)

    def imap(self) -> None:
        """Be a server of this protocol."""
        self.say("* OK toy")
        while True:
            tag, _, line = self.hear().partition(" ")
            mail = list(self.world.mail)
            if line == "STARTTLS":
                if self.broken == "no STARTTLS":
                    self.say(f"{tag} BAD no")
                    continue
                self.say(f"{tag} OK go")
                self.secure()
                continue
            if line == "CAPABILITY":
                logins = "AUTH=PLAIN" if self.offers_logins else "LOGINDISABLED"
                self.say(f"* CAPABILITY IMAP4rev1 STARTTLS {logins}")
            elif line.startswith("LOGIN") and not self.takes_logins:
                self.say(f"{tag} NO [PRIVACYREQUIRED] not without TLS")
                continue
            elif line == "UID SEARCH ALL":
                self.say(f"* SEARCH {' '.join(str(n + 1) for n in range(len(mail)))}".rstrip())
            elif found := re.fullmatch(r"UID FETCH (\d+) .*", line):
                content = mail[int(found[1]) - 1]
                self.stream.sendall(f"* 1 FETCH (BODY[] {{{len(content)}}}\r\n".encode())
                self.stream.sendall(content + b")\r\n")
            elif line.startswith("LOGIN") and self.broken == "no login":
                self.say(f"{tag} NO wrong password")
                continue
            self.say(f"{tag} OK done")
            if line == "LOGOUT":
                return

    def pop3(self) -> None:
        """Be a server of this protocol."""
        self.say("+OK toy")
        mail: list[bytes] = []
        while True:
            line = self.hear()
            if line.startswith("PASS"):
                mail = list(self.world.mail)
            if line == "STAT":
                self.say(f"+OK {len(mail)} 1")
            elif line == "CAPA":
                self.say(
                    "+OK", "STLS", *(["USER", "SASL PLAIN"] if self.offers_logins else []), "."
                )
            elif line.startswith("USER") and not self.takes_logins:
                self.say("-ERR not without TLS")
            elif line.startswith("RETR"):
                content = re.sub(rb"(?m)^\.", b"..", mail[int(line.split()[1]) - 1])
                self.stream.sendall(b"+OK\r\n" + content + b".\r\n")
            else:
                self.say("+OK")
            if line == "STLS":
                self.secure()
            if line == "QUIT":
                return

    def sieve(self) -> None:
        """Be a server of this protocol."""
        self.say('"IMPLEMENTATION" "toy"', '"STARTTLS"', 'OK "ready"')
        while True:
            line = self.hear()
            if line == "CAPABILITY":
                self.say(f'"SASL" "{"PLAIN" if self.offers_logins else ""}"')
            if line.startswith("AUTHENTICATE") and not self.takes_logins:
                self.say("NO (ENCRYPT-NEEDED)")
                continue
            self.say("OK")
            if line == "STARTTLS":
                self.secure()
                self.say('"IMPLEMENTATION" "toy"', "OK")
            if line == "LOGOUT":
                return


# --- certificates -------------------------------------------------------------------------------


def make_certificate(folder: Path, label: str, *, name: str = NAME, days: int = 90) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=400))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = Certificate(folder / f"{label}.crt", folder / f"{label}.key")
    pair.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pair


LISTENERS = (
    ("smtp", Protocol.SMTP, Tls.STARTTLS),
    ("submissions", Protocol.SMTP, Tls.IMPLICIT),
    ("imap", Protocol.IMAP, Tls.STARTTLS),
    ("imaps", Protocol.IMAP, Tls.IMPLICIT),
    ("pop3", Protocol.POP3, Tls.STARTTLS),
    ("pop3s", Protocol.POP3, Tls.IMPLICIT),
    ("sieve", Protocol.SIEVE, Tls.STARTTLS),
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    host = f"127.0.45.{random.randint(1, 254)}"
    made = World(
        tmp_path, host, make_certificate(tmp_path, "shown"), make_certificate(tmp_path, "other")
    )
    yield made
    made.stop()


def proven(
    world: World, *only: str, subject: Subject | None = None, seconds: float = 8.5
) -> dict[tuple[str, str], Finding]:
    began = time.monotonic()
    findings = prove(subject or world.subject(), catalogue.chosen(only), seconds=seconds)
    assert time.monotonic() - began < LIMIT
    return {(f.check, f.listener): f for f in findings}


def of(findings: dict[tuple[str, str], Finding], status: Status) -> set[tuple[str, str]]:
    return {key for key, finding in findings.items() if finding.status is status}


# --- the honest server ----------------------------------------------------------------------------


def test_an_honest_server_passes_every_row(world: World) -> None:
    """A false alarm would teach admins to ignore the report."""
    world.start(*LISTENERS)
    findings = proven(world)
    passed = of(findings, Status.PASS)
    risks = {(f.check, str(f.observed).split(";")[0]) for f in findings.values()} - {
        (findings[key].check, str(findings[key].observed).split(";")[0]) for key in passed
    }
    nobody = ("shared-address", "no clients but this machine's own came lately")
    # No home of ours stands behind this server.
    risks = {row for row in risks if row[0] not in {"configuration", "home"}}
    assert risks == {("tls", "self-signed"), nobody}
    public = [c for c in catalogue.CHECKS if c.probe and c.approach is Approach.PUBLIC]
    rows = {(c.name, b.name) for c in public for b in world.listeners if c.concerns(b)}
    assert rows <= set(findings)
    assert ("round-trip", "sieve") not in findings
    assert ("sender-forgery", "smtp") not in findings
    seen = findings["client-address", "imap"]
    assert "127.0.0.77" in seen.observed
    assert "127.0.0.78" in seen.observed
    assert seen.witness.startswith("saw 127.0.0.77 ")
    assert "4 messages" not in findings["round-trip", "imap"].observed
    assert str(findings["round-trip", "imap"].observed).startswith("2 of 2 messages")
    assert "[127.0.0.77]" in findings["round-trip", "smtp"].witness


# --- one defect each ------------------------------------------------------------------------------

DEFECTS = [
    # how the listener is broken, listener, check that must fail, what it must say
    ("refused", "smtp", "banner", "connection refused"),
    ("hang", "imap", "banner", "no answer in time"),
    ("hang", "pop3s", "tls", "did not end in time"),
    ("half-open", "pop3", "banner", "closed"),
    ("garbage", "sieve", "banner", "HTTP/1.1 400"),
    ("garbage", "imaps", "tls", "no TLS"),
    ("trickle", "smtp", "banner", "no answer in time"),
    ("flood", "imap", "banner", "a line of over"),
    ("slow", "pop3", "banner", "greeting after 1."),
    ("no STARTTLS", "smtp", "tls", "STARTTLS is not offered"),
    ("no STARTTLS", "imap", "tls", "STARTTLS was refused"),
    ("other certificate", "pop3s", "tls", "not the certificate in"),
    ("outdated TLS", "submissions", "tls", "TLS 1.0 was accepted; TLS 1.1 was accepted"),
    ("masked", "imaps", "client-address", "saw 127.0.0.1 port"),
    ("masked and other port", "sieve", "client-address", "clients seen meanwhile: 127.0.0.1"),
    ("refuses mail", "submissions", "round-trip", "550 5.1.1 no such user"),
    ("damages mail", "submissions", "round-trip", "the body was changed"),
    ("loses mail", "submissions", "round-trip", "nobody could read it back"),
    ("no login", "imaps", "round-trip", "NO wrong password"),
    (
        "logins in the clear",
        "imap",
        "auth-offer",
        '"LOGIN AUTH=PLAIN" offered, and a login was acc',
    ),
    ("logins in the clear", "pop3", "auth-offer", '"USER SASL PLAIN" offered, and a login was acc'),
    ("offer in the clear", "imap", "auth-offer", "offered; when tried, it was refused"),
    ("offer in the clear", "sieve", "auth-offer", 'without TLS: "PLAIN" offered; when tried'),
    ("offer in the clear", "smtp", "auth-offer", 'without TLS: "AUTH PLAIN" offered; when tried'),
    ("logins on 25", "smtp", "auth-offer", 'after STARTTLS: "AUTH PLAIN" offered, and a login'),
    ("relay", "smtp", "open-relay", "13 of 13 attempts would relay, such as <> to <relay-"),
    ("relay", "submissions", "open-relay", "13 of 13 attempts would relay"),
    ("relay for postmaster", "smtp", "open-relay", f"<postmaster@{NAME}> to <relay-"),
    ("relay by percent", "smtp", "open-relay", "%elsewhere.invalid"),
    ("relay by quotes", "smtp", "open-relay", '@elsewhere.invalid"'),
    ("relay by suffix", "smtp", "open-relay", f"@{NAME}.elsewhere.invalid"),
    ("forgery", "submissions", "sender-forgery", f"it may send as postmaster@{NAME}, "),
]


@pytest.mark.parametrize(("broken", "listener", "check", "words"), DEFECTS)
def test_a_defect_is_found_by_its_check(
    world: World, broken: str, listener: str, check: str, words: str
) -> None:
    """A check that cannot fail proves nothing; words that do not fit send an admin astray."""
    world.broken[listener] = broken
    world.start(*LISTENERS)
    # What never arrives is waited for to the end.
    findings = proven(world, seconds=4 if broken == "loses mail" else 8.5)
    finding = findings[check, listener]
    if (check, broken) != ("tls", "hang"):
        assert finding.status is Status.FAIL, finding
        assert words in finding.observed
        assert finding.fix
    failed = of(findings, Status.FAIL)
    if broken in {"damages mail", "loses mail"}:
        # What is lost or damaged on the way in is missed by everyone who reads.
        assert {name for name, _ in failed} == {"round-trip"}
    elif (check, broken) == ("tls", "hang"):
        assert failed == {("banner", listener)}
    else:
        assert failed == {(check, listener)}
    text = "".join(f"{f.observed}{f.witness}" for f in findings.values())
    assert "\x1b" not in text, "a server's words must not steer the terminal"


def test_port_25_that_hides_the_client_fails_in_log_and_header(world: World) -> None:
    """Spam filters judge the address in the Received header; both witnesses must be heard."""
    world.broken["smtp"] = "masked"
    world.start(*LISTENERS)
    findings = proven(world)
    assert of(findings, Status.FAIL) == {("client-address", "smtp"), ("round-trip", "smtp")}
    assert "names 127.0.0.1 instead of 127.0.0.77" in findings["round-trip", "smtp"].observed


@pytest.mark.parametrize(
    ("change", "words", "status"),
    [
        ({"name": "other.example.net"}, "made out for other.example.net", Status.FAIL),
        ({"days": -1}, "expired", Status.FAIL),
        ({"days": 5}, "expires soon", Status.RISK),
    ],
)
def test_a_certificate_that_mail_programs_refuse_is_found(
    world: World, change: dict[str, Any], words: str, status: Status
) -> None:
    """Users would meet the warning before the admin does."""
    world.certificate = make_certificate(world.folder, "flawed", **change)
    world.start(LISTENERS[3])
    finding = proven(world, "tls")["tls", "imaps"]
    assert finding.status is status
    assert words in finding.observed


def test_a_certificate_that_cannot_be_read_is_found(world: World) -> None:
    """A stranger's server would end the check in a traceback."""
    issued = issue(NAME)
    cert_file, key_file = issued.write(world.folder / "bits")
    cert_file.write_text(of_bits(issued))
    world.certificate = Certificate(cert_file, key_file)
    world.start(LISTENERS[3])
    finding = proven(world, "tls")["tls", "imaps"]
    assert finding.status is Status.FAIL
    assert "a certificate that cannot be read" in finding.observed
    assert finding.fix


def test_everything_dead_says_how_to_start(world: World) -> None:
    """The most common trouble of all deserves the shortest way out."""
    world.broken = dict.fromkeys((name for name, *_ in LISTENERS), "refused")
    world.start(*LISTENERS)
    findings = tuple(proven(world).values())
    assert report.exit_code(findings) == 1
    assert "gatepost up --detach" in report.sentence(findings)


def test_everything_hanging_ends_in_time(world: World) -> None:
    """Monitoring that hangs with the server it watches reports nothing."""
    world.broken = dict.fromkeys((name for name, *_ in LISTENERS), "hang")
    world.start(*LISTENERS)
    findings = proven(world)
    assert of(findings, Status.PASS) == set()
    assert of(findings, Status.FAIL) == {("banner", name) for name, *_ in LISTENERS}


def test_one_check_alone_still_fails_on_a_dead_listener(world: World) -> None:
    """With `--only tls` there is no banner row that would tell of it."""
    world.broken["imap"] = "refused"
    world.start(*LISTENERS)
    findings = proven(world, "tls")
    assert of(findings, Status.FAIL) == {("tls", "imap")}


def test_a_log_that_is_not_there_proves_nothing(world: World) -> None:
    """Without the daemon's own words an address is not proven, and not disproven."""
    world.start(*LISTENERS)
    elsewhere = replace(world.subject(), vantage=Here(Home(world.folder / "elsewhere")))
    findings = proven(world, "client-address", subject=elsewhere)
    assert len(of(findings, Status.NOT_PROVEN)) == len(LISTENERS)


def test_a_strange_proxy_in_front_is_not_proven_with_the_way_to_test_it(world: World) -> None:
    """A pass for what was never tried would be a lie."""
    world.start(*LISTENERS)
    world.listeners = [replace(bound, public=()) for bound in world.listeners]
    findings = proven(world)
    unproven = of(findings, Status.NOT_PROVEN)
    assert unproven == {key for key in findings if key[0] != "tls"}
    assert {findings[key].family for key in unproven} == {"-"}
    assert all(f.fix for f in findings.values())


def test_tls_is_proven_behind_a_strange_proxy(world: World) -> None:
    """TLS could be gone altogether, and the proof would say that nothing failed."""
    world.broken |= {"imap": "other certificate", "smtp": "no STARTTLS", "pop3s": "refused"}
    world.start(*LISTENERS)
    world.listeners = [replace(bound, public=()) for bound in world.listeners]
    findings = proven(world, "tls")
    assert of(findings, Status.FAIL) == {("tls", name) for name in world.broken}
    assert of(findings, Status.RISK) == {
        ("tls", name) for name, *_ in LISTENERS if name not in world.broken
    }, "self-signed, and nothing else"
    assert "at the internal port" in findings["tls", "imaps"].observed


def test_a_mailbox_that_cannot_be_made_is_a_finding(world: World) -> None:
    """A broken database must not hide what else was found."""
    world.start(*LISTENERS)

    def mailbox(_nonce: str) -> contextlib.AbstractContextManager[Login]:
        raise PermissionError(13, "Permission denied")

    found = prove(replace(world.subject(), make_mailbox=mailbox))
    failed = {(f.check, f.listener) for f in found if f.status is Status.FAIL}
    assert failed == {("round-trip", n) for n, p, _ in LISTENERS if p is not Protocol.SIEVE}
    assert all("Permission denied" in f.observed for f in found if f.check == "round-trip")


# --- from outside ---------------------------------------------------------------------------------


def test_a_dead_server_is_told_by_the_command(tmp_path: Path) -> None:
    """Scripts rely on exit codes and JSON, people on the last line."""
    program = Path(sys.executable).parent / "gatepost"
    environment = {
        "PATH": os.environ["PATH"],
        "GATEPOST_HOME": str(tmp_path / "home"),
        "MAILNAME": NAME,
        "PUBLIC_BIND_ADDRESS": "127.0.45.255",
        "SERVICE_BIND_ADDRESS": "127.0.45.255",
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "verify", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    done = call()
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "gatepost up --detach" in done.stdout.splitlines()[-1]
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    said = json.loads(call("--json").stdout)
    assert set(said) == {"summary", "findings"}
    assert set(said["summary"]) == {"pass", "fail", "risk", "not_proven"}
    assert set(said["findings"][0]) >= {
        *("check", "listener", "family", "status", "expected", "observed", "witness", "fix")
    }
    wrong = call("--only", "banana")
    assert wrong.returncode == 2
    assert "banner" in wrong.stderr
    assert not (tmp_path / "home").exists(), "verify makes nothing on a machine without a server"


_INTERRUPTED = """
import contextlib, sys, time
from pathlib import Path
from gatepost.actions.proof import ending_tidily
mark = Path(sys.argv[1])
with ending_tidily():
    try:
        mark.touch()
        time.sleep(30)
    finally:
        mark.unlink()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """A mailbox with a login that stays behind would be a way in."""
    mark = tmp_path / "made"
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, str(mark)], stderr=subprocess.DEVNULL
    ) as child:
        deadline = time.monotonic() + 20
        while not mark.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(number)
        assert child.wait(10) != 0
    assert not mark.exists()
