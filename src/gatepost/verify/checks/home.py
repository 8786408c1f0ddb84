"""The daemons can read what is theirs, and nobody else can write where root works."""

from __future__ import annotations

import os

from gatepost.model import Status
from gatepost.run import owners, record, rights
from gatepost.verify.run import Outcome, Run

_EXPECTED = (
    "mail and queue belong to the daemons' users, and nobody but root may write in GATEPOST_HOME "
    "and above it"
)
_SECONDS = 3.0


def home(run: Run) -> Outcome:
    """Look at the folders of the home, the upper ones first, for some seconds."""
    if run.home is None or os.geteuid() != 0:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "only root sees whose mail and queue are",
            fix="Run it as root on the machine of the server: gatepost verify --only home",
        )
    if problems := list(rights.problems(run.home)):
        problem, _, command = problems[0].rpartition(": ")
        return Outcome(Status.FAIL, _EXPECTED, problem, fix=f"Type: {command}")
    known = record.current(run.home)
    if known is None:
        return Outcome(
            Status.NOT_PROVEN,
            _EXPECTED,
            "there is no configuration yet that says whose files these are",
            fix="Start the server: gatepost up --detach",
        )
    look = owners.look(known.directories, seconds=_SECONDS)
    if look.foreign:
        return Outcome(
            Status.FAIL, _EXPECTED, look.foreign, fix="It mends all of them: gatepost up --detach"
        )
    how_far = "each folder and some files of each" if look.complete else "the upper folders"
    return Outcome(Status.PASS, _EXPECTED, f"looked at {how_far}", "the file system")
