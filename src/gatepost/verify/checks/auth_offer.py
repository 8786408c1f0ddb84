"""No password travels without TLS, and port 25 takes none at all."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.model import Status, Tls
from gatepost.model.words import Text
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.clients.protocols import Session
from gatepost.verify.clients.sessions import begin_tls, greeting_in_the_clear, in_the_clear
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.remedies import MAILBOXES, UP
from gatepost.verify.targets import Target

_SESSION_SECONDS = 6.5
"""A name server that drops a question costs five; how fast it must be, banner says."""
_SILENCE_SECONDS = 1.0
"""Longest wait for words that should not be sent."""
_WITHOUT_TLS = "without TLS"
_AFTER_TLS = "after STARTTLS"


@dataclass(frozen=True, slots=True)
class _Try:
    """A server's offer at one point of a session, and its answer to a login."""

    when: str
    offer: list[str]
    accepted: bool
    refusal: str
    """Its words; empty when no login was tried."""

    @property
    def offered(self) -> str:
        """The offer, in one word or more; empty when there was none."""
        return " ".join(self.offer)


def auth_offer(proof: Proof, target: Target) -> Outcome:
    """Look at what is offered before TLS, then log in with the right password all the same.

    The password is that of the probe's mailbox: it opens nothing else and is gone with the run.
    """
    if target.listener.tls is Tls.IMPLICIT:
        return _silent_without_tls(proof, target)
    port_25 = not takes_logins(target.bound)
    expected = "no login offered or accepted, with TLS or without"
    if not port_25:
        expected = "no login offered or accepted before STARTTLS"
    with in_the_clear(
        target, deadline=proof.within(_SESSION_SECONDS), name=proof.helo, source=target.source
    ) as session:
        tries = [_attempt(proof, session, _WITHOUT_TLS)]
        own_address = session.wire.client.host == target.address.host
        if port_25 and not tries[0].accepted and not tries[0].offer:
            begin_tls(session)
            tries.append(_attempt(proof, session, _AFTER_TLS))
    for one in tries:
        # To a client at the server's own address a daemon may call a session secure that is not,
        # and offer a login which it then refuses; not every daemon can be configured otherwise.
        excused = own_address and not port_25 and one.refusal
        if one.accepted or (one.offer and not excused):
            return Outcome(
                Status.FAIL,
                expected,
                _flaw(one),
                witness=one.refusal,
                fix=_fix(target, one),
                kind="login-accepted" if one.accepted else "login-offered",
            )
    return _good(proof, expected, tries)


def _attempt(proof: Proof, session: Session, when: str) -> _Try:
    try:
        offer = session.offer()
    except ProbeError as error:  # a server that is never asked offers nothing
        if error.trouble is not Trouble.DENIED:
            raise
        offer = []
    if not proof.login:
        return _Try(when, offer, accepted=False, refusal="")
    try:
        session.login(proof.login.address, proof.login.password)
    except ProbeError as error:
        if error.trouble is not Trouble.DENIED:
            raise
        refusal = str(error.reply or error.observed)
        return _Try(when, offer, accepted=False, refusal=refusal)
    return _Try(when, offer, accepted=True, refusal="")


def _flaw(one: _Try) -> str:
    offered = f'"{one.offered}" offered' if one.offer else "no login offered"
    if one.accepted:
        return f"{one.when}: {offered}, and a login was accepted"
    return f"{one.when}: {offered}" + ("; when tried, it was refused" if one.refusal else "")


def _good(proof: Proof, expected: str, tries: list[_Try]) -> Outcome:
    seen = [
        f'{one.when}: "{one.offered}" offered to the server\'s own address only, and refused'
        if one.offer
        else f"{one.when}: no login offered"
        + (", and one tried was refused" if one.refusal else "")
        for one in tries
    ]
    if not proof.login:
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            f"{'; '.join(seen)}; no login tried: {proof.no_login}",
            fix=Text("On the machine of the server, see whether accounts work: ", MAILBOXES),
            kind="no-login",
        )
    return Outcome(Status.PASS, expected, "; ".join(seen), witness=tries[-1].refusal)


def _fix(target: Target, one: _Try) -> Text:
    written = Text("what Gatepost writes does: ", UP)
    daemon = target.bound.daemon
    if takes_logins(target.bound):
        return Text(
            "Mail programs would send passwords that everybody on the way can read. Have "
            f"{daemon} demand TLS before a login; ",
            written,
        )
    risk = "Port 25 is for other servers: a login there only gives password guessers one more door."
    if one.when == _WITHOUT_TLS:
        risk += " Its passwords could be read on the way as well."
    return Text(f"{risk} Switch logins off there in {daemon}'s configuration; ", written)


# --- implicit TLS ---------------------------------------------------------------------------


def _silent_without_tls(proof: Proof, target: Target) -> Outcome:
    greeting = greeting_in_the_clear(
        target, deadline=proof.within(_SILENCE_SECONDS), source=target.source
    )
    if greeting:
        raise ProbeError(Trouble.TLS, f'greets without TLS: "{greeting}"')
    return Outcome(Status.PASS, "not a word before TLS", "spoken to without TLS, it says nothing")
