"""A peer without a PROXY header is disconnected soon, and never served."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gatepost.model import Status, Tls
from gatepost.model.words import Detail, Duration, Text, joined
from gatepost.verify.check import Outcome, Proof, time_is_up
from gatepost.verify.clients.sessions import connect, session_over
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.proxied import (
    PATIENCE_SECONDS,
    attempt,
    attempt_as_proxy,
    header,
    no_proxy_here,
    refusal_of,
)
from gatepost.verify.remedies import UP, see
from gatepost.verify.targets import Target

_EXPECTED = f"disconnected within {PATIENCE_SECONDS:.0f} s, without a greeting"
"""Our own listeners wait for 3 to 5 s."""


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a connection without a header."""

    began_with: str
    seconds: float
    greeting: str = ""
    refusal: ProbeError | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether it did not end as long as we waited."""
        return self.refusal is not None and self.refusal.trouble is Trouble.SILENT


def missing_header(proof: Proof, target: Target) -> Outcome:
    """Connect from a trusted address without a header: silence in one connection, words in another.

    The words are those of a mail client. The control is a header, which must be served: a port that
    is dead hangs up as well.
    """
    if target.trusted is None:
        return no_proxy_here(target, _EXPECTED, _by_hand(target))
    ends = _without_header(proof, target, target.trusted)
    for end in ends:
        if end.greeting:
            return _served(target, end.greeting)
    claim = proof.claims.take(target.family)
    control = attempt_as_proxy(proof, target, target.trusted, header(2, claim)).refusal
    if control and proof.is_down(target):
        raise control
    for end in ends:
        if end.is_open:
            return _hanging(proof, target, end)
    if control:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            Text(
                "disconnected, but so was ",
                Detail(target.trusted),
                " with a header: ",
                control.observed,
            ),
            fix=see("header-versions", target),
            kind="no-control",
        )
    times = joined(
        " and ", (Text(Duration(one.seconds), f" with {one.began_with}") for one in ends)
    )
    return Outcome(
        Status.PASS,
        _EXPECTED,
        Text("disconnected after ", times),
        witness=refusal_of(proof, target, target.trusted) or str(ends[0].refusal),
    )


def _without_header(proof: Proof, target: Target, trusted: str) -> tuple[_End, _End]:
    """Begin with silence, and with words beside it: neither waits for the other."""
    with connect(target, source=trusted, deadline=proof.within(PATIENCE_SECONDS)) as wire:
        began = time.monotonic()
        # On a port with implicit TLS the words are the client's part of the handshake.
        words = b"" if target.listener.tls is Tls.IMPLICIT else f"EHLO {proof.helo}\r\n".encode()
        visit = attempt(proof, target, trusted, words)
        spoken = _End("words", time.monotonic() - began, visit.words, visit.refusal)
        session = session_over(wire, target, proof.helo)
        refusal = None
        try:
            session.greet()
        except ProbeError as error:
            refusal = error
        silent = _End("silence", time.monotonic() - began, session.greeting, refusal)
    return silent, spoken


def _served(target: Target, greeting: str) -> Outcome:
    return Outcome(
        Status.FAIL,
        _EXPECTED,
        "the port takes clients without a header: everyone would have the proxy's address",
        witness=greeting,
        fix=Text(
            f"Have {target.bound.daemon} demand a PROXY header on ",
            Detail(target.address),
            "; what Gatepost writes does: ",
            UP,
            ". If another proxy stands there, have it hang up on connections without a header.",
        ),
        kind="served",
    )


def _hanging(proof: Proof, target: Target, end: _End) -> Outcome:
    observed = Text(
        f"{end.began_with} instead of a header: still open after ", Duration(end.seconds)
    )
    if end.seconds < PATIENCE_SECONDS:
        early = time_is_up(proof, _EXPECTED, observed, "missing-header")
        if early:
            return early
    return Outcome(
        Status.FAIL,
        _EXPECTED,
        observed,
        fix=Text(
            f"Connections that wait for nothing pile up. Have {target.bound.daemon} wait for a "
            "header for a few seconds only (MTA_PROXY_HEADER_SECONDS; haproxy_timeout), then: ",
            UP,
        ),
        kind="held-open",
    )


def _by_hand(target: Target) -> Text:
    return Text(
        "Where the proxy runs: nc ",
        Detail(target.address.host),
        f" {target.address.port}: within {PATIENCE_SECONDS:.0f} s it must end, without a greeting.",
    )
