"""The daemons can read what is theirs, and nobody else can write where root works."""

from __future__ import annotations

import os

from gatepost.model import Status
from gatepost.model.words import Text
from gatepost.run import owners, record, rights
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.remedies import UP, only

_EXPECTED = (
    "mail and queue belong to the daemons' users, and nobody but root may write in GATEPOST_HOME "
    "and above it"
)
_SECONDS = 3.0


def home(proof: Proof) -> Outcome:
    """Look at the folders of the home, the upper ones first, for some seconds."""
    at = proof.vantage.home
    if at is None or os.geteuid() != 0:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "only root sees whose mail and queue are",
            fix=Text("Run it as root on the machine of the server: ", only("home")),
            kind="not-root",
        )
    if problems := list(rights.problems(at)):
        first = problems[0]
        advice = f"Type: {first.command}"
        return Outcome(Status.FAIL, _EXPECTED, first.reason, fix=advice, kind="open-home")
    known = record.current(at)
    if known is None:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "there is no configuration yet that says whose files these are",
            fix=Text("Start the server: ", UP),
            kind="not-running",
        )
    look = owners.look(known.directories, seconds=_SECONDS)
    if look.foreign:
        fix = Text("It mends all of them: ", UP)
        return Outcome(Status.FAIL, _EXPECTED, look.foreign, fix=fix, kind="wrong-owner")
    how_far = "each folder and some files of each" if look.complete else "the upper folders"
    return Outcome(Status.PASS, _EXPECTED, f"checked {how_far}", "the file system")
