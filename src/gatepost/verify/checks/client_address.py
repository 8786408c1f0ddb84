"""The daemon sees the client, and not the proxy."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from gatepost.model import Address, Event, Observation, Status
from gatepost.model.words import Detail, Logs, Text, joined
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.clients.sessions import conversation
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.proxied import no_log
from gatepost.verify.remedies import UP
from gatepost.verify.targets import Target

_SESSION_SECONDS = 6.0
"""A name server that loses a question costs 5 s of it."""
_LOG_SECONDS = 2.0
"""A daemon writes its line at once; its log travels through a pipe and a file."""


def client_address(proof: Proof, target: Target) -> Outcome:
    """Connect from two addresses and look for both clients in the daemon's log.

    The client's TCP port ties a line to a probe. The second probe is the control: a daemon that
    sees everyone as one fails.
    """
    if silence := no_log(proof, target, _expected(target, [])):
        return silence
    sources = target.sources if len(target.sources) > 1 else (target.source, target.source)
    probes = [_visit(proof, target, source) for source in sources]
    expected = _expected(target, probes)
    patience = proof.within(_LOG_SECONDS)
    seen = [_seen(proof, target, probe, patience) for probe in probes]
    lines = [observation.line for observation in seen if observation]
    if all(s and is_about(s, p) for s, p in zip(seen, probes, strict=True)):
        one = " (one source address here; told apart by port)" if len(target.sources) < 2 else ""  # noqa: PLR2004
        return Outcome(
            Status.PASS,
            expected,
            Text(f"{target.bound.daemon} saw ", joined(" and ", map(Detail, probes)), one),
            witness=lines[0],
        )
    observed = missed(target.bound.daemon, probes, seen)
    if not any(seen):
        observed = Text(observed, _others(proof, target))
    return Outcome(
        Status.FAIL,
        expected,
        observed,
        witness=lines[0] if lines else "",
        fix=_fix(target),
        kind="wrong-client" if any(seen) else "no-line",
    )


def missed(daemon: str, probes: list[Address], seen: list[Observation | None]) -> Text:
    """Say what a daemon saw in the place of probes that it should have seen.

    `seen` is what it says of each probe, at least one of which is wrong or None.
    """
    pairs = list(zip(seen, probes, strict=True))
    wrong = [
        Text(_name(s), " instead of ", Detail(p)) for s, p in pairs if s and not is_about(s, p)
    ]
    if wrong:
        return Text(f"{daemon} saw ", joined("; ", wrong))
    return Text("no line about ", joined(" or ", (Detail(p) for s, p in pairs if s is None)))


def _expected(target: Target, probes: list[Address]) -> Text:
    who = joined(" and ", map(Detail, probes)) or "each client under its own address"
    return Text(f"{target.bound.daemon} sees ", who)


def _visit(proof: Proof, target: Target, source: str | None) -> Address:
    """Be a client: TLS, login where there is one, goodbye. Return the address it came from."""
    with conversation(
        target, deadline=proof.within(_SESSION_SECONDS), name=proof.helo, source=source
    ) as session:
        if proof.login and takes_logins(target.bound):
            # A daemon that refuses the login says from whom; whether it should is not asked here.
            with suppress(ProbeError):
                session.login(proof.login.address, proof.login.password)
        return session.wire.client


def _seen(proof: Proof, target: Target, probe: Address, deadline: float) -> Observation | None:
    """Find what the daemon says of a probe: its exact address and port, else its port."""

    def exact(observation: Observation) -> bool:
        return observation.daemon == target.bound.daemon and is_about(observation, probe)

    if found := proof.witness.find(exact, deadline=deadline):
        return found
    others = [o for o in proof.witness.all() if o.daemon == target.bound.daemon]
    by_port = [o for o in others if o.port == probe.port]
    return by_port[-1] if by_port else None


def _name(observation: Observation) -> Text:
    return Text(Detail(observation.client), f" port {observation.port or 'unknown'}")


def _others(proof: Proof, target: Target) -> Text:
    """Say whom the daemon saw meanwhile: often the proxy."""
    seen = sorted(
        {
            observation.client
            for observation in proof.witness.all()
            if observation.daemon == target.bound.daemon
            and observation.event in {Event.CONNECT, Event.LOGIN, Event.LOGIN_FAILED}
        }
    )
    if not seen:
        return Text()
    return Text("; clients seen meanwhile: ", joined(", ", map(Detail, seen[:5])))


def _fix(target: Target) -> Text:
    if target.bound.proxied:
        return Text(
            f"The proxy must tell {target.bound.daemon} who the client is: PROXY protocol version "
            "2 on the route of ",
            Detail(target.bound.name),
            ", and nothing between client and proxy may change addresses (NAT; a cluster whose "
            "Service is without externalTrafficPolicy: Local). After a change: ",
            UP,
        )
    return Text(
        f"Nothing tells {target.bound.daemon} who the client is. With a reverse proxy in front, "
        "set MTA_UPSTREAM_PROXY=true, MDA_UPSTREAM_PROXY=true and TRUSTED_PROXIES, and have the "
        "proxy send the PROXY protocol; without one, look for NAT in front of this machine."
    )


# --- another machine ------------------------------------------------------------------------------


def client_address_there(proof: Proof, target: Target) -> Outcome:
    """Connect to another machine, whose own log names the client."""
    with conversation(
        target, deadline=proof.within(_SESSION_SECONDS), name=proof.helo, source=target.source
    ) as session:
        client = session.wire.client
    return Outcome(
        Status.NOT_PROVEN,
        "the daemon's log names this probe's own address and port",
        Text("came from ", Detail(client), " at ", Detail(f"{datetime.now(UTC):%H:%M:%S}"), " UTC"),
        fix=Text(
            f"On {proof.vantage.host}, look for that address and port: ",
            Logs(lines=1000),
            ". Another address is right only when it is that of a router which this machine is "
            "behind; the proxy's own is wrong.",
        ),
        kind="log-elsewhere",
    )
