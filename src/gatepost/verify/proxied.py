"""Connections that begin with a PROXY header, and the daemon's words about them."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from gatepost.model import Address, Event, Observation, Status, Tls
from gatepost.model.words import Detail, Text, Words
from gatepost.proxy_protocol import build_1, build_2
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.sessions import any_certificate, connect, session_over
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire, shown
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.targets import Target

PATIENCE_SECONDS = 6.0
"""Longest wait for a greeting: a name server that loses a query costs 5 s of it."""
LOG_SECONDS = 4.0
"""Longest wait for a line in the log; it is there at once unless the machine is very busy."""
_TLS_RECORDS = b"\x15\x16"
"""First bytes of a TLS server: an alert, or its part of the handshake."""


def header(version: int, claim: Address) -> bytes:
    """Return a header that names a client, on its way to port 25 of the client's own address."""
    build = build_1 if version == 1 else build_2
    return build((claim.host, claim.port), (claim.host, 25))


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection: the client's address, and the service that it got."""

    client: Address
    """Its own address and port, whatever its header says."""
    words: str
    """The greeting; empty when there was none."""
    refusal: ProbeError | None = None
    """The reason why it was not served; None when it was."""


def attempt(proof: Proof, target: Target, source: str | None, opening: bytes) -> Visit:
    """Connect, send `opening`, and see whether the server begins to serve.

    On a port with implicit TLS the client's part of a handshake follows, and TLS that begins is
    service enough. Raises `ProbeError` when no connection is established.
    """
    with connect(target, source=source, deadline=proof.within(PATIENCE_SECONDS)) as wire:
        try:
            if target.listener.tls is Tls.IMPLICIT:
                return Visit(wire.client, _begun_tls(wire, opening))
            return Visit(wire.client, _greeted(proof, target, wire, opening))
        except ProbeError as error:
            return Visit(wire.client, "", error)


def attempt_as_proxy(proof: Proof, target: Target, source: str, opening: bytes) -> Visit:
    """Do as a proxy does: `opening`, then the session of a client; else as `attempt`."""
    if target.listener.tls is not Tls.IMPLICIT:
        return attempt(proof, target, source, opening)
    with connect(target, source=source, deadline=proof.within(PATIENCE_SECONDS)) as wire:
        try:
            return Visit(wire.client, _greeted(proof, target, wire, opening))
        except ProbeError as error:
            if error.trouble is not Trouble.TLS:
                return Visit(wire.client, "", error)
    # Hung up on, or TLS as such is broken, which is not the question here.
    return attempt(proof, target, source, opening)


def _greeted(proof: Proof, target: Target, wire: Wire, opening: bytes) -> str:
    session = session_over(wire, target, proof.helo)
    wire.send(opening)
    if target.listener.tls is Tls.IMPLICIT:
        wire.start_tls(any_certificate(), "localhost")
    session.greet()
    # A header that was taken for a command is answered before this.
    with suppress(ProbeError):
        session.leave()
    return session.greeting.split("\n")[0]


def _begun_tls(wire: Wire, opening: bytes) -> str:
    outgoing = ssl.MemoryBIO()
    tls = any_certificate().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    wire.send(opening + outgoing.read())
    first = wire.exactly(1)
    if first in _TLS_RECORDS:
        return "TLS begins"
    reply = shown(first + wire.line())
    raise ProbeError(Trouble.DENIED, reply, reply)


# --- what the daemon observed --------------------------------------------------------------------


def observation_of(
    proof: Proof, target: Target, clients: Collection[Address], deadline: float
) -> Observation | None:
    """Wait for the daemon's first observation of one of these clients, address and port."""
    daemon = target.bound.daemon
    return proof.witness.find(
        lambda seen: seen.daemon == daemon and any(is_about(seen, one) for one in clients),
        deadline=deadline,
    )


def refusal_of(proof: Proof, target: Target, host: str) -> str:
    """Return the daemon's line about a header, or none, that it did not take from an address."""
    for seen in proof.witness.all():
        if (seen.daemon, seen.event, seen.client) == (target.bound.daemon, Event.REFUSED, host):
            return seen.line
    return ""


# --- what cannot be tested -----------------------------------------------------------------------


def no_log(proof: Proof, target: Target, expected: Words) -> Outcome | None:
    """Say that without the daemon's words nothing is proven; None when they can be read."""
    absence = proof.witness.absence(target.bound.daemon)
    if absence is None:
        return None
    return Outcome(Status.NOT_PROVEN, expected, absence.observed, fix=absence.fix, kind="no-log")


def no_proxy_here(target: Target, expected: Words, fix: Words) -> Outcome:
    """Say that no probe may speak as the proxy does."""
    return Outcome(
        Status.NOT_PROVEN,
        expected,
        Text(
            "no address of this machine that reaches ",
            Detail(target.address),
            " is in TRUSTED_PROXIES",
        ),
        fix=fix,
        kind="no-source",
    )
