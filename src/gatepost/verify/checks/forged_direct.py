"""A client that passes the proxy by cannot claim another address."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.model import Address, Status
from gatepost.model.words import Detail, Logs, Text, Words
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.proxied import (
    LOG_SECONDS,
    Visit,
    attempt,
    attempt_as_proxy,
    header,
    no_log,
    observation_of,
    refusal_of,
)
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import Target

_LAST_WORDS_SECONDS = 0.5
"""Longest wait for a claim in the log when there is no later line to wait for."""
_SECURITY_REASON = re.compile(r"\b[45]\.7\.\d")
"""Status codes of a no for reasons of security or policy (RFC 3463)."""


@dataclass(frozen=True, slots=True)
class _Forgery:
    """A header that was sent, and how far its sender got."""

    version: int
    claim: Address
    visit: Visit

    @property
    def refused(self) -> Words:
        """Return why its sender was not served; empty when it was."""
        return self.visit.refusal.observed if self.visit.refusal else ""

    @property
    def reply(self) -> str:
        """Return the server's words of refusal; empty when there were none."""
        return self.visit.refusal.reply if self.visit.refusal else ""


def forged_direct(proof: Proof, target: Target) -> Outcome:
    """Send a PROXY header of each version to the service port from an untrusted address.

    The control is the same header from a trusted address: it must be served, and the log name
    whom it claims. Without it, a port that is dead would look like one that refuses.
    """
    daemon, stranger = target.bound.daemon, target.source
    expected = f"{daemon} believes no header from outside TRUSTED_PROXIES"
    if stranger is None:
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            Text(
                "no address of this machine that reaches ",
                Detail(target.address),
                " is outside TRUSTED_PROXIES",
            ),
            fix=_by_hand(target),
            kind="no-source",
        )
    if silence := no_log(proof, target, expected):
        return silence
    forgeries = [_forge(proof, target, stranger, version) for version in (1, 2)]
    no_control = _control(proof, target)
    claims = [forgery.claim for forgery in forgeries]
    patience = proof.within(LOG_SECONDS)
    seen = [
        observation_of(proof, target, (forgery.visit.client, forgery.claim), patience)
        for forgery in forgeries
        if not forgery.refused
    ]
    # With a control its line is in the log by now, and so are all lines before it.
    believed = observation_of(
        proof, target, claims, proof.within(_LAST_WORDS_SECONDS if no_control else 0)
    )
    if believed:
        claimed = Address(believed.client, believed.port or 0)
        return Outcome(
            Status.FAIL,
            expected,
            Text(f"{daemon} took ", Detail(stranger), " for ", Detail(claimed), ", as it claimed"),
            witness=believed.line,
            fix=_fix(target),
            kind="believed",
        )
    if not all(seen):
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            Text(Detail(stranger), f" was served, and {daemon} does not say as whom"),
            fix=Text(see("client-address", target), " Where that passes, run verify again."),
            kind="no-line",
        )
    refused = [forgery for forgery in forgeries if forgery.refused]
    lines = [one.line for one in seen if one]
    if not refused:
        observed = Text(Detail(stranger), " was served as itself")
        return Outcome(Status.PASS, expected, observed, witness=lines[0])
    return _refused(proof, target, expected, refused, no_control)


def _forge(proof: Proof, target: Target, stranger: str, version: int) -> _Forgery:
    claim = proof.claims.take(target.family)
    try:
        visit = attempt(proof, target, stranger, header(version, claim))
    except ProbeError as error:  # the control tells a firewall from a port that is dead
        visit = Visit(Address(stranger, 0), "", error)
    return _Forgery(version, claim, visit)


def _control(proof: Proof, target: Target) -> Words:
    """Connect from a trusted address; return what is wrong, or nothing. Raises `ProbeError`."""
    if target.trusted is None:
        return "no address of this machine is in TRUSTED_PROXIES, to compare with"
    claim = proof.claims.take(target.family)
    visit = attempt_as_proxy(proof, target, target.trusted, header(2, claim))
    if visit.refusal:
        if proof.is_down(target):
            raise visit.refusal
        return Text(
            "so was one from ",
            Detail(target.trusted),
            ", which is trusted: ",
            visit.refusal.observed,
        )
    if not observation_of(proof, target, (claim,), proof.within(LOG_SECONDS)):
        return Text(
            "of one from ", Detail(target.trusted), ", which is trusted, the log says nothing"
        )
    return ""


def _refused(
    proof: Proof, target: Target, expected: str, refused: list[_Forgery], no_control: Words
) -> Outcome:
    first = refused[0]
    what = Text("header from ", Detail(target.source), " refused")
    line = refusal_of(proof, target, str(target.source))
    if any(f.visit.refusal and f.visit.refusal.trouble is Trouble.SILENT for f in refused):
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            Text("header from ", Detail(target.source), " neither refused nor served in time"),
            fix=_by_hand(target),
            kind="silent",
        )
    if not no_control:
        return Outcome(
            Status.PASS,
            expected,
            Text(what, ", from ", Detail(target.trusted), " taken"),
            witness=line or str(first.refused),
        )
    if target.trusted is None:
        in_words = all(_SECURITY_REASON.search(forgery.reply) for forgery in refused)
        if line or in_words:
            return Outcome(
                Status.PASS,
                expected,
                Text(what, " in words"),
                witness=line or str(first.refused),
            )
        fix = _by_hand(target)
    else:
        fix = see("header-versions", target)
    observed = Text(what, " (", first.refused, "), but ", no_control)
    return Outcome(Status.NOT_PROVEN, expected, observed, fix=fix, kind="no-control")


def _by_hand(target: Target) -> Text:
    return Text(
        "From a machine outside TRUSTED_PROXIES that reaches the port: "
        "(printf 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\\r\\n'; sleep 3) | nc ",
        Detail(target.address.host),
        f" {target.address.port}: it must not be served as 192.0.2.7: ",
        Logs(target.bound.daemon),
    )


def _fix(target: Target) -> Text:
    return Text(
        "Whoever reaches ",
        Detail(target.address),
        " can be any client, past block lists and limits. Have "
        f"{target.bound.daemon} believe TRUSTED_PROXIES only, as what Gatepost writes does: ",
        UP,
        ". Until then let a firewall admit nobody else to the port.",
    )
