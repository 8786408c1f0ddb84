"""The toy's row of the proof."""

from __future__ import annotations

from gatepost.model import Status
from gatepost.model.words import Command, Text
from gatepost.verify.check import Check, Outcome, Run

EXPECTED = "the bell hangs"
UP = Command("up", "--detach")


def hangs(run: Run) -> Outcome:
    """Look whether the bell's file is in the configuration in use."""
    home = run.vantage.home
    there = home is not None and (home.config / "toy" / "bell.conf").exists()
    if there:
        return Outcome(Status.PASS, EXPECTED, "it hangs")
    return Outcome(Status.FAIL, EXPECTED, "no bell", fix=Text("Set TOY_BELL=yes: ", UP))


CHECKS = (Check("toy", EXPECTED, Text("Look up: ", Command("config show")), judge=hangs),)
