"""Speaking to a port with a PROXY header first, and what the daemon makes of it."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from gatepost.model import Address, Event, Observation, Status, Tls
from gatepost.model.words import Detail, Text, Words
from gatepost.proxy_protocol import build_1, build_2
from gatepost.verify.check import Outcome, Run
from gatepost.verify.clients.sessions import any_certificate, connect, session_over
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire, shown
from gatepost.verify.evidence.witnesses import is_about
from gatepost.verify.targets import Target

PATIENCE_SECONDS = 6.0
"""How long a greeting may take here: a name server that loses a query costs 5 s of it."""
LOG_SECONDS = 4.0
"""How long a line may take into the log; it is there at once unless the machine is very busy."""
_TLS_RECORDS = b"\x15\x16"
"""With what a TLS server begins to speak: an alert, or its part of the handshake."""


def header(version: int, claim: Address) -> bytes:
    """Return a header that names a client, on its way to port 25 of the client's own address."""
    build = build_1 if version == 1 else build_2
    return build((claim.host, claim.port), (claim.host, 25))


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection: who came, and whether it was served."""

    client: Address
    """Its own address and port, whatever its header says."""
    words: str
    """What it was greeted with; empty when it was not."""
    refusal: ProbeError | None = None
    """Why it was not served; None when it was."""


def knock(run: Run, target: Target, source: str | None, opening: bytes) -> Visit:
    """Connect, send `opening`, and see whether the server begins to serve.

    On a port with implicit TLS the client's part of a handshake follows, and TLS that begins is
    service enough. Raises `ProbeError` when no connection comes about.
    """
    with connect(target, source=source, deadline=run.within(PATIENCE_SECONDS)) as wire:
        try:
            if target.listener.tls is Tls.IMPLICIT:
                return Visit(wire.client, _begun_tls(wire, opening))
            return Visit(wire.client, _greeted(run, target, wire, opening))
        except ProbeError as error:
            return Visit(wire.client, "", error)


def come(run: Run, target: Target, source: str, opening: bytes) -> Visit:
    """Come as a proxy does: `opening`, then the session of a client; else as `knock`."""
    if target.listener.tls is not Tls.IMPLICIT:
        return knock(run, target, source, opening)
    with connect(target, source=source, deadline=run.within(PATIENCE_SECONDS)) as wire:
        try:
            return Visit(wire.client, _greeted(run, target, wire, opening))
        except ProbeError as error:
            if error.trouble is not Trouble.TLS:
                return Visit(wire.client, "", error)
    # Hung up on, or TLS as such is broken, which is not the question here.
    return knock(run, target, source, opening)


def _greeted(run: Run, target: Target, wire: Wire, opening: bytes) -> str:
    session = session_over(wire, target, run.helo)
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


# --- what the daemon says ------------------------------------------------------------------------


def said_of(
    run: Run, target: Target, clients: Collection[Address], deadline: float
) -> Observation | None:
    """Wait for the daemon's first word about a client that is one of these, address and port."""
    daemon = target.bound.daemon
    return run.witness.find(
        lambda seen: seen.daemon == daemon and any(is_about(seen, one) for one in clients),
        deadline=deadline,
    )


def refusal_of(run: Run, target: Target, host: str) -> str:
    """Return the daemon's line about a header, or none, that it did not take from an address."""
    for seen in run.witness.all():
        if (seen.daemon, seen.event, seen.client) == (target.bound.daemon, Event.REFUSED, host):
            return seen.line
    return ""


# --- what cannot be tested -----------------------------------------------------------------------


def no_log(run: Run, target: Target, expected: Words) -> Outcome | None:
    """Say that without the daemon's words nothing is proven; None when they can be read."""
    absence = run.witness.absence(target.bound.daemon)
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
