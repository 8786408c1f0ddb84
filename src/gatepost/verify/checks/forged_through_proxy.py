"""A client at the public port cannot claim another address."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.model.words import Detail, Text
from gatepost.registry import plugins
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.proxied import LOG_SECONDS, attempt, header, no_log, observation_of
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import Target


def forged_through_proxy(proof: Proof, target: Target) -> Outcome:
    """Send a PROXY header first, and ask the daemon's log who came.

    It is of version 1 by IPv4 and of version 2 by IPv6; where there is one family only, both.
    The header is payload to an honest proxy, and a bad command or broken TLS to the daemon. That
    the claimed address is nowhere in the log proves nothing alone: the daemon must have named the
    probe's own.
    """
    expected = f"{target.bound.daemon} sees the probe's own address, not the claimed one"
    if silence := no_log(proof, target, expected):
        return silence
    claims, clients, versions = [], [], _versions(target)
    for version in versions:
        claim = proof.claims.take(target.family)
        visit = attempt(proof, target, target.source, header(version, claim))
        claims.append(claim)
        clients.append(visit.client)
    patience = proof.within(LOG_SECONDS)
    lines = []
    for version, claim, client in zip(versions, claims, clients, strict=True):
        seen = observation_of(proof, target, (client, claim), patience)
        if not seen:
            return Outcome(
                Status.NOT_PROVEN,
                expected,
                Text(
                    f"version {version}: {target.bound.daemon} says nothing of ",
                    Detail(client),
                    ", nor of the claimed ",
                    Detail(claim),
                ),
                fix=Text(see("client-address", target), " Where that passes, run verify again."),
                kind="no-line",
            )
        if is_about(seen, claim):
            return Outcome(
                Status.FAIL,
                expected,
                Text(
                    f"version {version}: {target.bound.daemon} saw ",
                    Detail(client),
                    " as ",
                    Detail(claim),
                    ", as it claimed",
                ),
                witness=seen.line,
                fix=_fix(target),
                kind="believed",
            )
        lines.append(seen.line)
    return Outcome(
        Status.PASS,
        expected,
        Text(
            f"{target.bound.daemon} saw ",
            Detail(clients[0]),
            ", not the claimed ",
            Detail(claims[0]),
        ),
        witness=lines[0],
    )


def _versions(target: Target) -> tuple[int, ...]:
    """Share the versions out: each connection may cost the server a question to a name server."""
    if len({address.is_ipv6 for address in target.bound.public}) == 1:
        return (1, 2)
    return (2,) if target.address.is_ipv6 else (1,)


def _fix(target: Target) -> Text:
    anyone = Text(
        "Every client of ",
        Detail(target.address),
        " can be whom it likes, past block lists and limits. Have ",
    )
    if target.bound.proxied:
        return Text(
            anyone,
            "the proxy believe no PROXY header on this entry point, or only those of proxies in "
            "front of it. ",
            *(f"{plugin.believe_nobody} " for plugin in plugins() if plugin.believe_nobody),
            "HAProxy: no accept-proxy on the bind line.",
        )
    return Text(
        anyone,
        f"{target.bound.daemon} take no PROXY header on it; what Gatepost writes does not: ",
        UP,
    )
