"""Logged-in users can send only from their own addresses."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.model.words import Text, Words
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.protocols import Smtp
from gatepost.verify.clients.sessions import conversation
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.remedies import MAILBOXES, UP, see
from gatepost.verify.targets import Target

_SESSION_SECONDS = 6.5
"""A name server that drops a question costs five; how fast it must be, banner says."""
_EXPECTED = "logged in, mail is taken from the own address and from no other"


def sender_forgery(proof: Proof, target: Target) -> Outcome:
    """Log in and begin messages as others; the control is one under the own address.

    No message is sent: what is asked is whether its recipient is accepted.
    """
    if proof.login is None:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            proof.no_login,
            fix=Text("On the machine of the server, see whether accounts work: ", MAILBOXES),
            kind="no-login",
        )
    others = forgeries(proof.login, proof.mailname)
    with conversation(
        target, deadline=proof.within(_SESSION_SECONDS), name=proof.helo, source=target.source
    ) as session:
        if not isinstance(session, Smtp):
            raise TypeError(session)
        try:
            session.login(proof.login.address, proof.login.password)
        except ProbeError as error:
            if error.trouble is not Trouble.DENIED:
                raise
            return _no_control(target, Text("the probe could not log in: ", error.observed))
        answers = {one: session.envelope(one, proof.login.address) for one in others}
        code, own = session.envelope(proof.login.address, proof.login.address)
    taken = [one for one, (forged, _) in answers.items() if forged // 100 == 2]  # noqa: PLR2004
    if taken:
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"logged in as {proof.login.address}, it may send as {', '.join(taken)}",
            witness=answers[taken[0]][1],
            fix=Text(
                f"Anybody with a mailbox can write as anybody else here. Have {target.bound.daemon}"
                " compare the envelope sender with the login; what Gatepost writes does: ",
                UP,
            ),
            kind="forged",
        )
    if code // 100 != 2:  # noqa: PLR2004
        return _no_control(target, f"its own address was refused as well: {own}")
    return Outcome(
        Status.PASS,
        _EXPECTED,
        f"own address taken, {len(others)} others refused",
        witness=answers[others[0]][1],
    )


def forgeries(login: Login, mailname: str) -> tuple[str, ...]:
    """Return addresses that are not the login's: the server's, a neighbour's, a stranger's."""
    name = login.address.partition("@")[0]
    return (
        f"postmaster@{mailname}",
        f"neighbour-of-{login.address}",
        f"{name}@{mailname}",
        "stranger@elsewhere.invalid",
    )


def _no_control(target: Target, observed: Words) -> Outcome:
    """Say that nothing is proven by a server that refuses everything."""
    return Outcome(
        Status.NOT_PROVEN,
        _EXPECTED,
        observed,
        fix=see("round-trip", target),
        kind="no-control",
    )
