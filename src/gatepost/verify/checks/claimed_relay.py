"""An address that a PROXY header names gives no right to relay."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from gatepost.model import Address, IPNetwork, Status
from gatepost.model.words import Detail, Text, Words
from gatepost.proxy_protocol import build_2
from gatepost.verify.check import Outcome, Proof, takes_logins
from gatepost.verify.checks.open_relay import OUTSIDE
from gatepost.verify.clients.protocols import Smtp
from gatepost.verify.clients.sessions import in_the_clear
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.proxied import LOG_SECONDS, observation_of
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import Approach, Target, targets

_EXPECTED = "an address of MYNETWORKS that a PROXY header names may not relay"
_SESSION_SECONDS = 5.0


def claimed_relay(proof: Proof) -> Outcome:
    """Claim an address of each family in ``MYNETWORKS`` from a trusted address, and ask to relay.

    The control is the daemon's log, which must name the claimed client: a header that nobody
    believes relays nothing anyway.
    """
    doors = _doors(proof) if proof.relaying and proof.vantage.speaks_as_proxy else ()
    public = [t for t in targets(proof.topology, Approach.PUBLIC) if not takes_logins(t.bound)]
    if proof.nobody_answers(public) and (public or not doors):
        return Outcome(
            Status.NOT_PROVEN, _EXPECTED, "nobody answers", fix="See the banner rows first."
        )
    if not proof.relaying:
        return Outcome(Status.PASS, _EXPECTED, "MYNETWORKS is empty: no address relays")
    if not any(b.proxied and not takes_logins(b) for b in proof.topology.mail):
        return Outcome(Status.PASS, _EXPECTED, "port 25 takes no PROXY header")
    if proof.relaying_proxies:
        return _risk(proof)
    if not doors:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "no probe here can connect as the proxy does",
            fix=(
                "Where the proxy runs, send a PROXY header with an address of MYNETWORKS to the "
                "service port of smtp: RCPT TO of somebody elsewhere must be refused with 554."
            ),
            kind="no-source",
        )
    outcomes = [_try(proof, doors[0], claim) for claim in _claims(proof)]
    return next((one for one in outcomes if one.status is not Status.PASS), outcomes[0])


def _doors(proof: Proof) -> tuple[Target, ...]:
    return tuple(
        door
        for door in targets(proof.topology, Approach.SERVICE)
        if not takes_logins(door.bound) and door.trusted
    )


def _claims(proof: Proof) -> Iterator[Address]:
    """Yield an address of the first network of each family."""
    for version in (4, 6):
        network = next((n for n in proof.relaying if n.version == version), None)
        if network:
            port = proof.claims.take(f"IPv{version}").port
            yield Address(_inside(network), port)


def _inside(network: IPNetwork) -> str:
    first = ipaddress.ip_address(network.network_address)
    return str(first + 1 if network.num_addresses > 1 else first)


def _try(proof: Proof, door: Target, claim: Address) -> Outcome:
    header = build_2((claim.host, claim.port), (claim.host, 25))
    try:
        with in_the_clear(
            door,
            deadline=proof.within(_SESSION_SECONDS),
            name=proof.helo,
            source=door.trusted,
            header=header,
        ) as session:
            assert isinstance(session, Smtp)  # noqa: S101  the door is smtp's
            code, words = session.envelope(f"stranger@{OUTSIDE}", f"relay-{proof.nonce}@{OUTSIDE}")
    except ProbeError as error:
        return _unproven(
            door, Text("as ", Detail(claim.host), " nothing could be asked: ", error.observed)
        )
    if code // 100 == 2:  # noqa: PLR2004
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"{door.trusted} claims to be {claim.host}, and relays",
            words,
            fix=Text(
                "Every program that may connect as the proxy does sends mail to anybody. See that "
                f"mynetworks of {door.bound.daemon}'s service for proxied clients is empty, as in "
                "what Gatepost writes: ",
                UP,
            ),
            kind="relays",
        )
    if not observation_of(proof, door, (claim,), proof.within(LOG_SECONDS)):
        return _unproven(door, f"refused, and the log does not say that {claim.host} was seen")
    return Outcome(
        Status.PASS, _EXPECTED, f"{door.trusted} claims to be {claim.host}, and was refused", words
    )


def _unproven(door: Target, observed: Words) -> Outcome:
    fix = see("header-versions", door)
    return Outcome(Status.NOT_PROVEN, _EXPECTED, observed, fix=fix, kind="no-control")


def _risk(proof: Proof) -> Outcome:
    names = ", ".join(map(str, proof.relaying_proxies))
    return Outcome(
        Status.RISK,
        _EXPECTED,
        f"whoever connects from {names} relays by claiming an address of MYNETWORKS "
        "(MTA_RELAYING_PROXIES)",
        fix=(
            "Name in MTA_RELAYING_PROXIES only a proxy that shares its address with no other "
            "program; 127.0.0.1 is every program of this machine. Unset it where clients can log "
            "in, or reach the internal port."
        ),
        kind="proxies-relay",
    )
