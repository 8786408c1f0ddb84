"""The server relays no mail for clients that have not logged in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatepost import ip_addresses
from gatepost.accounts.records import PROBE_DOMAIN
from gatepost.model import Status
from gatepost.model.words import Detail, Text, Words, joined
from gatepost.proxy_protocol import build_2
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.clients.protocols import Smtp
from gatepost.verify.clients.sessions import conversation, in_the_clear
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import Approach, Target, targets

_EXPECTED = "no recipient elsewhere accepted, whoever asks and however it is spelt"
_SESSION_SECONDS = 6.5
"""A name server that drops a question costs five; how fast it must be, banner says."""
OUTSIDE = "elsewhere.invalid"
"""A domain that is nobody's (RFC 2606), so nobody can have made it one of the server's own."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Sender and recipient of a message."""

    sender: str
    recipient: str

    def __str__(self) -> str:
        """Spell it as SMTP does."""
        return f"<{self.sender}> to <{self.recipient}>"


@dataclass(frozen=True, slots=True)
class _Client:
    """A client to be: at a target, from a source, with or without a claimed address."""

    target: Target
    source: str | None
    envelopes: tuple[Envelope, ...]
    claimed: str = ""
    """Address in the header; empty for no header."""
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answers to one client."""

    who: str
    answers: list[tuple[Envelope, int, str]]
    control: Words
    """The reason why the refusals prove nothing; empty when the probe's mail would be taken."""
    see: str = "round-trip"
    """The check that says more of it."""


def open_relay(proof: Proof, target: Target) -> Outcome:
    """Ask for relaying in every way: as oneself, and as whom the proxy's header may name.

    No message is sent: an accepted recipient is the relay. The control in each session is the
    probe's own mailbox as recipient, after a login where there is nothing without one.
    """
    clients = list(_clients(proof, target))
    if not clients:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "every address that a probe can come from may relay (MYNETWORKS)",
            fix="Run verify where an address of the machine is outside MYNETWORKS, or narrow it.",
            kind="no-source",
        )
    answered = [_ask(proof, client) for client in clients]
    relayed = [
        (one.who, envelope, words)
        for one in answered
        for envelope, code, words in one.answers
        if code // 100 == 2  # noqa: PLR2004
    ]
    tried = sum(len(one.answers) for one in answered)
    who = joined(" and ", map(Detail, dict.fromkeys(one.who for one in answered)))
    if relayed:
        first, envelope, words = relayed[0]
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            Text(
                f"{len(relayed)} of {tried} attempts would relay, such as {envelope} as ",
                Detail(first),
            ),
            witness=words,
            fix=_fix(target),
            kind="relays",
        )
    for one in answered:
        if one.control:
            return Outcome(
                Status.NOT_PROVEN,
                _EXPECTED,
                Text(f"{tried} attempts refused; ", one.control),
                fix=see(one.see, target),
                kind="no-control",
            )
    return Outcome(
        Status.PASS,
        _EXPECTED,
        Text(f"{tried} attempts refused as ", who, "; the probe's own mailbox accepted"),
        witness=answered[0].answers[0][2],
    )


def envelopes(mailname: str, mailbox: str, nonce: str) -> tuple[tuple[Envelope, ...], ...]:
    """Return what to try, in portions that a server hears without slowing down.

    The first portion is about senders, the second about ways to hide where a recipient is. The
    domain in them is the probe's own: in another a catch-all could rightly take them all.
    """
    name, stranger = f"relay-{nonce}", f"stranger@{OUTSIDE}"
    elsewhere = f"{name}@{OUTSIDE}"
    senders = ("", stranger, mailbox, f"postmaster@{mailname}")
    tricks = (
        f"{name}%{OUTSIDE}@{PROBE_DOMAIN}",
        f'"{elsewhere}"@{PROBE_DOMAIN}',
        f"@{PROBE_DOMAIN}:{elsewhere}",
        f"{OUTSIDE}!{name}@{PROBE_DOMAIN}",
        f"{name}%{OUTSIDE}",
        f'"{elsewhere}"',
        f"{name}%{OUTSIDE}@[127.0.0.1]",
        f"{name}@{mailname}.{OUTSIDE}",
    )
    return (
        (
            *(Envelope(sender, elsewhere) for sender in senders),
            *(Envelope(stranger, trick) for trick in tricks[-2:]),
        ),
        tuple(Envelope(stranger, one) for one in (elsewhere, *tricks[:-2])),
    )


# --- who asks -----------------------------------------------------------------------------------


def _clients(proof: Proof, target: Target) -> Iterator[_Client]:
    mailbox = proof.login.address if proof.login else f"nobody@{PROBE_DOMAIN}"
    portions = envelopes(proof.mailname, mailbox, proof.nonce)
    sources: list[str | None] = [
        one for one in target.sources if not ip_addresses.within(one, proof.relaying)
    ]
    if not target.sources:
        sources = [None]
    if sources:
        yield _Client(target, sources[0], portions[0])
    # Whom the proxy names is believed: an address that sounds like home must gain nothing by it.
    doors = targets(proof.topology, Approach.SERVICE) if proof.vantage.speaks_as_proxy else ()
    for door in doors:
        if (door.bound, door.family) == (target.bound, target.family) and door.trusted:
            claimed, server = proof.claims.take(door.family), door.address
            if not ip_addresses.within(claimed.host, proof.relaying):
                header = build_2((claimed.host, claimed.port), (server.host, server.port))
                yield _Client(door, door.trusted, portions[1], claimed.host, header)
                return
    if sources:
        yield _Client(target, sources[-1], portions[1])


# --- what is answered ---------------------------------------------------------------------------


def _ask(proof: Proof, client: _Client) -> _Answered:
    try:
        return _answers(proof, client)
    except ProbeError as error:
        if not client.claimed:
            raise
        control = Text(
            "as ",
            Detail(client.claimed),
            " at the service port nothing could be asked: ",
            error.observed,
        )
        return _Answered(client.claimed, [], control, see="header-versions")


def _answers(proof: Proof, client: _Client) -> _Answered:
    opened = conversation if takes_logins(client.target.bound) else in_the_clear
    with opened(
        client.target,
        deadline=proof.within(_SESSION_SECONDS),
        name=proof.helo,
        source=client.source,
        header=client.header,
    ) as session:
        if not isinstance(session, Smtp):
            raise TypeError(session)
        answers = [(one, *session.envelope(one.sender, one.recipient)) for one in client.envelopes]
        who = client.claimed or session.wire.client.host
        return _Answered(who, answers, _control(proof, session, client.target))


def _control(proof: Proof, session: Smtp, target: Target) -> Words:
    """Ask for what should be accepted; return why it was not, or nothing."""
    if proof.login is None:
        return f"nothing to compare with: {proof.no_login}"
    sender = f"stranger@{OUTSIDE}"
    if takes_logins(target.bound):
        sender = proof.login.address
        try:
            session.login(proof.login.address, proof.login.password)
        except ProbeError as error:
            if error.trouble is not Trouble.DENIED:
                raise
            return Text("and so was the probe's own login: ", error.observed)
    code, words = session.envelope(sender, proof.login.address)
    return "" if code // 100 == 2 else f"and so was the probe's own mailbox: {words}"  # noqa: PLR2004


def _fix(target: Target) -> Text:
    daemon = target.bound.daemon
    return Text(
        "Spammers find such a server within hours, and then nobody takes its mail. Relay only for "
        "MYNETWORKS and for logged-in users: see mynetworks and the relay and recipient "
        f"restrictions of {daemon}. What Gatepost writes does: ",
        UP,
    )
