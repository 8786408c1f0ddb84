"""The toy's row of the proof."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.model.words import Command, Text
from gatepost.verify.check import Outcome, Proof, ProofCheck

EXPECTED = "the bell hangs"
UP = Command("up", "--detach")


def hangs(proof: Proof) -> Outcome:
    """Look whether the bell's file is in the configuration in use."""
    home = proof.vantage.home
    there = home is not None and (home.config / "toy" / "bell.conf").exists()
    if there:
        return Outcome(Status.PASS, EXPECTED, "it hangs")
    return Outcome(Status.FAIL, EXPECTED, "no bell", fix=Text("Set TOY_BELL=yes: ", UP))


CHECKS = (ProofCheck("toy", EXPECTED, Text("Look up: ", Command("config show")), judge=hangs),)
