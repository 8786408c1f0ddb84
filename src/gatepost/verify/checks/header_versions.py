"""A trusted proxy may speak either version of the PROXY protocol, of clients of either family."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.model import Address, Observation, Status
from gatepost.model.words import Detail, Logs, Text
from gatepost.proxy_protocol import Command, build_1, build_2
from gatepost.verify.check import Outcome, Proof, time_is_up
from gatepost.verify.clients.wire import Trouble
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.proxied import (
    LOG_SECONDS,
    Visit,
    attempt_as_proxy,
    header,
    no_log,
    no_proxy_here,
    observation_of,
    refusal_of,
)
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import IPV4, IPV6, Target

_UNKNOWN = build_1()
"""A daemon may refuse it; all other headers carry mail."""


@dataclass(frozen=True, slots=True)
class _Header:
    """A header to send, and the client that the daemon should see."""

    name: str
    data: bytes
    claim: Address | None
    """None: the proxy itself."""


@dataclass(frozen=True, slots=True)
class _Try:
    """A header that was sent, and what came of it."""

    sent: _Header
    visit: Visit

    @property
    def awaited(self) -> Address:
        """The client that the daemon should see."""
        return self.sent.claim or self.visit.client


def header_versions(proof: Proof, target: Target) -> Outcome:
    """Send every kind of header from a trusted address, and look for the clients in the log."""
    daemon, trusted = target.bound.daemon, target.trusted
    expected = f"{daemon} serves each header of a trusted proxy, as the client that it names"
    if trusted is None:
        return no_proxy_here(target, expected, _by_hand(target))
    if silence := no_log(proof, target, expected):
        return silence
    tries: list[_Try] = []
    for sent in _headers(proof):
        tries.append(_Try(sent, attempt_as_proxy(proof, target, trusted, sent.data)))
        refusal = tries[-1].visit.refusal
        if refusal and (proof.is_down(target) or refusal.trouble is Trouble.SILENT):
            break  # each of the others would wait as long
    if any(one.visit.refusal and one.sent.data != _UNKNOWN for one in tries):
        return _refused(proof, target, expected, tries)
    served = [one for one in tries if not one.visit.refusal]
    patience = proof.within(LOG_SECONDS)
    seen = [_observed(proof, target, one, patience) for one in served]
    for one, observed in zip(served, seen, strict=True):
        if observed is None or not is_about(observed, one.awaited):
            return _mistaken(target, expected, one, observed)
    witness = seen[0].line if seen[0] else ""
    if len(served) < len(tries):
        return _unknown_refused(expected, tries[-1], witness)
    return Outcome(
        Status.PASS,
        expected,
        "1 and 2, TCP4 and TCP6, UNKNOWN and LOCAL accepted",
        witness=witness,
    )


def _observed(proof: Proof, target: Target, one: _Try, deadline: float) -> Observation | None:
    """Return the client that the daemon saw: the claimed one, or the proxy itself.

    In this order: the kernel may have given an earlier probe the proxy's port.
    """
    return observation_of(proof, target, (one.awaited,), deadline) or observation_of(
        proof, target, (one.visit.client,), deadline
    )


def _headers(proof: Proof) -> tuple[_Header, ...]:
    def naming(version: int, word: str, family: str) -> _Header:
        claim = proof.claims.take(family)
        return _Header(f"version {version} {word}", header(version, claim), claim)

    return (
        naming(1, "TCP4", IPV4),
        naming(1, "TCP6", IPV6),
        naming(2, "TCP4", IPV4),
        naming(2, "TCP6", IPV6),
        _Header("version 2 LOCAL", build_2(command=Command.LOCAL), None),
        _Header("version 1 UNKNOWN", _UNKNOWN, None),
    )


def _refused(proof: Proof, target: Target, expected: str, tries: list[_Try]) -> Outcome:
    refusals = [(one.sent.name, one.visit.refusal) for one in tries if one.visit.refusal]
    _, last = refusals[-1]
    if proof.is_down(target):
        raise last
    names = ", ".join(name for name, _ in refusals)
    which = "each header" if len(refusals) == len(tries) > 1 else names
    if last.trouble is Trouble.SILENT:
        observed = Text(f"{names}: ", last.observed)
        early = time_is_up(proof, expected, observed, "header-versions")
        if early:
            return early
    else:
        observed = Text(f"{which} from ", Detail(target.trusted), " refused: ", last.observed)
    return Outcome(
        Status.FAIL,
        expected,
        observed,
        witness=refusal_of(proof, target, str(target.trusted)),
        fix=_fix(target),
        kind=last.trouble.value,
    )


def _mistaken(target: Target, expected: str, one: _Try, observed: Observation | None) -> Outcome:
    if observed is None:
        return Outcome(
            Status.NOT_PROVEN,
            expected,
            f"{one.sent.name}: served, and {target.bound.daemon} does not say as whom",
            fix=Text(see("client-address", target), " Where that passes, run verify again."),
            kind="no-line",
        )
    return Outcome(
        Status.FAIL,
        expected,
        Text(
            f"{one.sent.name}: served, and {target.bound.daemon} saw ",
            Detail(observed.client),
            " port ",
            Detail(observed.port),
            " instead of ",
            Detail(one.awaited),
        ),
        witness=observed.line,
        fix=_fix(target),
        kind="wrong-client",
    )


def _unknown_refused(expected: str, one: _Try, witness: str) -> Outcome:
    reason = one.visit.refusal.observed if one.visit.refusal else ""
    return Outcome(
        Status.RISK,
        expected,
        Text(f"{one.sent.name} refused: ", reason, "; all others accepted"),
        witness=witness,
        fix=(
            "A proxy that speaks version 1 announces its own health checks so, and would take the "
            "server for dead: let it speak version 2."
        ),
        kind="unknown-refused",
    )


def _fix(target: Target) -> Text:
    daemon = target.bound.daemon
    return Text(
        f"A proxy that speaks so would serve nobody, or hide its clients. See that {daemon} knows "
        "TRUSTED_PROXIES as they are now, and that nothing else answers on ",
        Detail(target.address),
        ": ",
        UP,
        "; ",
        Logs(daemon),
    )


def _by_hand(target: Target) -> Text:
    return Text(
        "Where the proxy runs: (printf 'PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\\r\\n'; sleep 3) | "
        "nc ",
        Detail(target.address.host),
        f" {target.address.port}: it must be served, as 192.0.2.7: ",
        Logs(target.bound.daemon),
    )
