"""The server greets first, and soon."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.model.words import Duration, Text
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.clients.sessions import greeting
from gatepost.verify.targets import Target

_PROMPT_SECONDS = 1.0
_PATIENCE_SECONDS = 3.0
"""Waiting longer than what passes tells a slow server from a silent one."""


def banner(proof: Proof, target: Target) -> Outcome:
    """Connect, say nothing, and time the greeting."""
    expected = f"greeting within {_PROMPT_SECONDS:.0f} s"
    words, took = greeting(target, deadline=proof.within(_PATIENCE_SECONDS), source=target.source)
    if took > _PROMPT_SECONDS:
        return Outcome(
            Status.FAIL,
            expected,
            Text("greeting after ", Duration(took)),
            witness=words,
            fix=(
                "Clients give up on slow greetings. Look for a slow name server (a reverse name is "
                "looked up for each client), an overloaded machine (uptime), or an entry point "
                "with a TLS router beside the TCP router."
            ),
            kind="slow",
        )
    observed = Text("greeting after ", Duration(took, "ms"))
    return Outcome(Status.PASS, expected, observed, witness=words)
