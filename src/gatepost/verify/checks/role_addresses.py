"""Mail for the postmaster reaches somebody (RFC 5321, 4.5.1; RFC 2142)."""

from __future__ import annotations

from gatepost.accounts.records import PROBE_DOMAIN
from gatepost.model import Status
from gatepost.model.words import Command, Text
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.protocols import Smtp
from gatepost.verify.clients.sessions import in_the_clear
from gatepost.verify.targets import Approach, targets

_EXPECTED = "postmaster and abuse are accepted, and an unknown address is not"
_SESSION_SECONDS = 6.5


def role_addresses(proof: Proof) -> Outcome:
    """Ask port 25 whether it would take mail for the role addresses; no message is sent.

    The control in the same session is an address that nobody has.
    """
    here = [
        target
        for target in targets(proof.topology, Approach.PUBLIC)
        if target.bound.name == "smtp" and target not in proof.unreached
    ]
    if not here:
        return Outcome(
            Status.NOT_PROVEN, _EXPECTED, "nobody answers", fix="See the banner rows first."
        )
    wanted = ("postmaster", f"postmaster@{proof.mailname}", f"abuse@{proof.mailname}")
    with in_the_clear(here[0], deadline=proof.within(_SESSION_SECONDS), name=proof.helo) as session:
        if not isinstance(session, Smtp):
            raise TypeError(session)
        answers = [(name, *session.envelope("", name)) for name in wanted]
        control, words = session.envelope("", f"nobody-{proof.nonce}@{PROBE_DOMAIN}")
    refused = [(name, reply) for name, code, reply in answers if code // 100 != 2]  # noqa: PLR2004
    if refused:
        return Outcome(
            Status.RISK,
            _EXPECTED,
            f"refused: {', '.join(name for name, _ in refused)}",
            witness=refused[0][1],
            fix=Text(
                "Every domain must have somebody who reads this mail, and without it other servers "
                "may refuse yours. It goes to POSTMASTER: add that mailbox with ",
                Command("mailbox add"),
                ", or set POSTMASTER to an address that somebody reads. See which is missing: ",
                Command("config check"),
            ),
            kind="refused-postmaster",
        )
    if control // 100 == 2:  # noqa: PLR2004
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "accepted, and so was an address that nobody has",
            witness=words,
            fix="See the open-relay row first.",
            kind="no-control",
        )
    return Outcome(Status.PASS, _EXPECTED, "accepted; an unknown address refused", witness=words)
