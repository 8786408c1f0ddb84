"""What may be tried, and what follows from the answers: logins, relaying, other people's names."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gatepost.model import (
    Address,
    BoundListener,
    Certificate,
    Home,
    Listener,
    Protocol,
    Status,
    Tls,
    Topology,
)
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.checks import auth_offer, open_relay, sender_forgery
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.protocols import Imap, Pop3, Session, Sieve, Smtp
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.targets import Target
from gatepost.verify.vantage.here import Here

LOGIN = Login("probe-0123456789abcdef@verify.gatepost.invalid", "secret")
HOST = "127.0.8.1"
HELLO = ("250-mx", "250 8BITMIME")
REFUSAL = ("250 ok", "554 5.7.1 relay access denied", "250 reset")


class Script:
    """A wire whose other end says what a script says, whatever it is told."""

    client = Address("127.0.0.77", 40_000)

    def __init__(self, *lines: str) -> None:
        """Have these lines to say."""
        self.lines = [line.encode() for line in lines]
        self.sent: list[str] = []

    def send(self, words: bytes) -> None:
        """Hear a line."""
        self.sent.append(words.decode().rstrip("\r\n"))

    def line(self) -> bytes:
        """Say one."""
        return self.lines.pop(0)


def talk(kind: type[Session], *lines: str) -> Session:
    return kind(cast("Wire", Script(*lines)), "probe.invalid")


# --- reading offers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lines", "offer"),
    [
        (Smtp, ["250-mx", "250-STARTTLS", "250 8BITMIME"], []),
        (Smtp, ["250-mx", "250-AUTH PLAIN LOGIN", "250 DSN"], ["AUTH PLAIN LOGIN"]),
        (Smtp, ["250-mx", "250-auth=LOGIN", "250 AUTHORITY"], ["auth=LOGIN"]),
        (Imap, ["* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED", "g1 OK"], []),
        (Imap, ["* CAPABILITY IMAP4rev1 STARTTLS", "g1 OK"], ["LOGIN"]),
        (Imap, ["* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN", "g1 OK"], ["AUTH=PLAIN"]),
        (Pop3, ["+OK", "CAPA", "STLS", "SASL", "."], []),
        (Pop3, ["+OK", "USER", "SASL PLAIN", "."], ["USER", "SASL PLAIN"]),
        (Sieve, ['"SASL" ""', '"STARTTLS"', "OK"], []),
        (Sieve, ['"sasl" "PLAIN LOGIN"', "OK"], ["PLAIN", "LOGIN"]),
    ],
)
def test_each_protocol_spells_its_offer_in_its_own_way(
    kind: type[Session], lines: list[str], offer: list[str]
) -> None:
    """An offer that is overlooked is a password read by somebody else."""
    assert talk(kind, *lines).offer() == offer


def test_an_envelope_is_dropped_whatever_was_answered() -> None:
    """A probe that sent a message would be what it looks for."""
    session = talk(Smtp, "250 hi", "250 ok", "554-5.7.1 no", "554 5.7.1 relay", "250 reset")
    assert isinstance(session, Smtp)
    assert session.envelope("", "x@elsewhere.invalid") == (554, "554 5.7.1 relay")
    assert cast("Script", session.wire).sent[-1] == "RSET"
    refused = talk(Smtp, "250 hi", "553 5.7.1 not yours", "250 reset")
    assert isinstance(refused, Smtp)
    assert refused.envelope("a@b.invalid", "x@elsewhere.invalid")[0] == 553
    assert not any("RCPT" in line for line in cast("Script", refused.wire).sent)


# --- what is tried ------------------------------------------------------------------------------


def test_a_portion_is_smaller_than_what_slows_a_server_down() -> None:
    """Postfix makes a client wait from the tenth error of a session on."""
    portions = open_relay.envelopes("mail.example.org", LOGIN.address, "0123")
    assert all(len(portion) <= 8 for portion in portions)
    everything = [str(envelope) for portion in portions for envelope in portion]
    assert len(set(everything)) == len(everything) - 1, "one is for every client"


def test_forgeries_are_nobody_the_probe_is() -> None:
    """A control among the forgeries would fail every healthy server."""
    forged = sender_forgery.forgeries(LOGIN, "mail.example.org")
    assert LOGIN.address not in forged
    assert "postmaster@mail.example.org" in forged
    assert len(forged) <= 8


# --- what follows ---------------------------------------------------------------------------------


def target(name: str = "imap", *, tls: Tls = Tls.STARTTLS, sources: tuple[str, ...] = ()) -> Target:
    protocol = Protocol.IMAP if name.startswith("imap") else Protocol.SMTP
    there = (Address(HOST, 1),)
    bound = BoundListener(
        Listener(name, protocol, tls, 1, 1, 1, 1),
        "toy",
        proxied=False,
        public=there,
        service=there,
        internal=there,
    )
    return Target(bound, there[0], sources)


def run(**changes: Any) -> Proof:
    made = Proof(
        nonce="0123",
        topology=Topology((), {}, {}, ()),
        mailname="mail.example.org",
        certificate=Certificate(Path("unread"), Path("unread")),
        witness=LogWitness(LogFile(Path("unread")), ()),
        login=LOGIN,
        no_login="",
        selected=frozenset(),
        vantage=Here(Home(Path("unread"))),
        deadline=time.monotonic() + 5,
    )
    return replace(made, **changes)


class Fake:
    """A session that offers, accepts and answers as a test says."""

    def __init__(self, offer: list[str], *, accepts: bool, client: str) -> None:
        """Be such a session."""
        self._offer, self._accepts = offer, accepts
        self.wire = SimpleNamespace(client=Address(client, 40_000))

    def offer(self) -> list[str]:
        """Offer."""
        return self._offer

    def login(self, _user: str, _password: str) -> None:
        """Accept or refuse."""
        if not self._accepts:
            raise ProbeError(Trouble.DENIED, "NO (awaited: 235)")


def judged(
    monkeypatch: pytest.MonkeyPatch, session: Fake, probed: Target, **changes: Any
) -> Outcome:
    @contextlib.contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[Fake]:
        yield session

    monkeypatch.setattr(auth_offer, "in_the_clear", opened)
    monkeypatch.setattr(auth_offer, "begin_tls", lambda _: None)
    return auth_offer.auth_offer(run(**changes), probed)


@pytest.mark.parametrize(
    ("listener", "client", "accepts", "status"),
    [
        ("imap", HOST, False, Status.PASS),
        ("imap", HOST, True, Status.FAIL),
        ("imap", "127.0.0.77", False, Status.FAIL),
        ("smtp", HOST, False, Status.FAIL),
    ],
)
def test_an_offer_is_excused_only_where_it_is_empty(
    monkeypatch: pytest.MonkeyPatch, listener: str, client: str, status: Status, *, accepts: bool
) -> None:
    """Dovecot cannot help offering a login to its own address; whoever takes it has no excuse."""
    session = Fake(["LOGIN"], accepts=accepts, client=client)
    assert judged(monkeypatch, session, target(listener)).status is status


def test_nothing_offered_and_no_login_to_try_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass for what was never tried would be a lie; an offer that is seen fails all the same."""
    quiet = Fake([], accepts=False, client="127.0.0.77")
    found = judged(monkeypatch, quiet, target(), login=None, no_login="no mailbox")
    assert found.status is Status.NOT_PROVEN
    assert "no mailbox" in found.observed
    loud = Fake(["LOGIN"], accepts=False, client=HOST)
    assert judged(monkeypatch, loud, target(), login=None).status is Status.FAIL


def test_port_25_is_asked_again_after_starttls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that is hidden until there is TLS is one all the same."""
    quiet = Fake([], accepts=False, client="127.0.0.77")
    observed = str(judged(monkeypatch, quiet, target("smtp")).observed)
    assert observed.startswith("without TLS: no login offered")
    assert "after STARTTLS: no login offered" in observed


def test_a_greeting_before_implicit_tls_is_a_trouble_with_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tls row says what to do about it; two rows for one trouble hide a third."""
    monkeypatch.setattr(auth_offer, "greeting_in_the_clear", lambda *_, **__: "220 hi")
    with pytest.raises(ProbeError, match="220 hi") as raised:
        auth_offer.auth_offer(run(), target("submissions", tls=Tls.IMPLICIT))
    assert raised.value.trouble is Trouble.TLS


def test_who_may_relay_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relaying for MYNETWORKS is what the admin asked for, and no failure."""
    asked: list[str | None] = []
    tries = iter((6, 7))

    @contextlib.contextmanager
    def opened(*_: Any, source: str | None, **__: Any) -> Iterator[Session]:
        asked.append(source)
        yield talk(Smtp, *HELLO, *REFUSAL * next(tries), "250 ok", "250 ok", "250 reset")

    monkeypatch.setattr(open_relay, "in_the_clear", opened)
    relaying = (ipaddress.ip_network("127.0.0.78/32"),)
    probed = target("smtp", sources=("127.0.0.77", "127.0.0.78"))
    open_relay.open_relay(run(relaying=relaying), probed)
    assert asked == ["127.0.0.77", "127.0.0.77"]
    everyone = open_relay.open_relay(run(relaying=(ipaddress.ip_network("127.0.0.0/8"),)), probed)
    assert everyone.status is Status.NOT_PROVEN
    assert "MYNETWORKS" in everyone.observed
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("control", "login", "status", "words"),
    [
        ("250 2.1.5 ok", LOGIN, Status.PASS, "the probe's own mailbox accepted"),
        ("554 5.7.1 go away", LOGIN, Status.NOT_PROVEN, "and so was the probe's own mailbox: 554"),
        ("250 2.1.5 ok", None, Status.NOT_PROVEN, "nothing to compare with: no mailbox"),
    ],
)
def test_refusals_count_only_beside_an_accepted_control(
    monkeypatch: pytest.MonkeyPatch,
    control: str,
    login: Login | None,
    status: Status,
    words: str,
) -> None:
    """A server that refuses everything is closed, and nobody's mail server."""
    tries = iter((6, 7))

    @contextlib.contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[Session]:
        yield talk(Smtp, *HELLO, *REFUSAL * next(tries), "250 ok", control, "250 reset")

    monkeypatch.setattr(open_relay, "in_the_clear", opened)
    probed = target("smtp", sources=("127.0.0.77",))
    found = open_relay.open_relay(run(login=login, no_login="no mailbox"), probed)
    assert found.status is status
    assert words in found.observed
