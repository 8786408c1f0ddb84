"""A pod that is not the proxy cannot claim another address."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from gatepost.model import Address, Status
from gatepost.model.words import Detail, Text, Words
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.sessions import connect
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.proxied import Visit, attempt, header, no_log, observation_of, refusal_of
from gatepost.verify.targets import Approach, Target, is_number, targets

_CONNECT_SECONDS = 1.5
_LOG_SECONDS = 2.0
_LAST_WORDS_SECONDS = 0.5
_VERSIONS = (1, 2)
_KEPT_OFF = frozenset({Trouble.UNREACHABLE, Trouble.REFUSED})


@dataclass(frozen=True, slots=True)
class _Try:
    """A header that was sent, and how far it got."""

    claim: Address
    visit: Visit


def forged(proof: Proof, target: Target) -> Outcome:
    """Send a PROXY header of each version from this pod to a Service that is for the proxy.

    Whoever keeps it off does right: a NetworkPolicy, the gate, the daemon. The controls are the
    same listener through Traefik, and the same pod by the same IP version, at its internal listener
    where Traefik is not reached by that: where one of them is dead as well, nothing is proven.
    """
    expected = f"{target.bound.daemon} believes no header from this pod, which is not the proxy"
    if not _served_otherwise(proof, target):
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            Text(
                "nobody is served over ",
                Detail(target.family),
                " on another way either, to compare with",
            ),
            fix=Text("See the banner rows of ", Detail(target.bound.name), " first."),
            kind="no-control",
        )
    if obstacle := _kept_off(proof, target):
        return Outcome(
            Status.PASS,
            expected,
            "kept off before it could say a word, as by a NetworkPolicy; Traefik is served",
            str(obstacle),
        )
    if silence := no_log(proof, target, expected):
        return silence
    tries = []
    for version in _VERSIONS:
        claim = proof.claims.take(target.family)
        tries.append(_Try(claim, attempt(proof, target, None, header(version, claim))))
    return _judged(proof, target, expected, tries)


def _served_otherwise(proof: Proof, target: Target) -> bool:
    if not is_number(target.address.host):  # there is no such Service
        return False
    served = [
        public
        for public in targets(proof.topology, Approach.PUBLIC)
        if public.bound == target.bound and public not in proof.unreached
    ]
    if any(public.family == target.family for public in served):
        return True
    for address in target.bound.internal if served else ():
        inside = replace(target, address=address)
        if inside.family == target.family:
            with suppress(ProbeError):
                connect(inside, source=None, deadline=proof.within(_CONNECT_SECONDS)).close()
                return True
    return False


def _kept_off(proof: Proof, target: Target) -> Words:
    """Return why no connection is established; empty if one is."""
    try:
        connect(target, source=None, deadline=proof.within(_CONNECT_SECONDS)).close()
    except ProbeError as error:
        if error.trouble in _KEPT_OFF:
            return error.observed
        raise
    return ""


def _judged(proof: Proof, target: Target, expected: str, tries: list[_Try]) -> Outcome:
    daemon = target.bound.daemon
    served = [one.visit.client for one in tries if not one.visit.refusal]
    claims = [one.claim for one in tries]
    seen = (
        observation_of(proof, target, [*served, *claims], proof.within(_LOG_SECONDS))
        if served
        else None
    )
    believed = observation_of(proof, target, claims, proof.within(_LAST_WORDS_SECONDS))
    if believed:
        return Outcome(
            Status.FAIL,
            expected,
            Text(
                f"{daemon} took this pod for ",
                Detail(believed.client),
                " port ",
                Detail(believed.port),
                ", as it claimed",
            ),
            believed.line,
            fix=_fix(target),
            kind="believed",
        )
    if seen:
        return Outcome(Status.PASS, expected, "this pod was served as itself", seen.line)
    refusals = [one.visit.refusal for one in tries if one.visit.refusal]
    if served or any(refusal.trouble is Trouble.SILENT for refusal in refusals):
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            f"this pod was neither refused nor named by {daemon} in time",
            fix=Text(
                "See the client-address rows of ",
                Detail(target.bound.name),
                " first, then run verify again.",
            ),
            kind="silent",
        )
    reason = refusals[0].observed
    line = refusal_of(proof, target, tries[0].visit.client.host)
    return Outcome(Status.PASS, expected, Text("refused: ", reason), line or str(reason))


def _fix(target: Target) -> Text:
    return Text(
        "Every pod that reaches ",
        Detail(target.address),
        " may claim to be any client. Keep other pods off: "
        "the NetworkPolicies of deploy/kustomize do, where the cluster's network enforces policies "
        "(Calico, Cilium, k3s's own; flannel alone does not). Or narrow TRUSTED_PROXIES to "
        "Traefik's own addresses.",
    )
