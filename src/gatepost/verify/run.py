"""What the checks of one run share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gatepost.model import BoundListener, Certificate, Status, Topology
from gatepost.verify.letters import Letters
from gatepost.verify.mailbox import Login
from gatepost.verify.targets import Target
from gatepost.verify.wire import ProbeError
from gatepost.verify.witnesses import LogWitness


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says of one target; the listener's name and family come from the target."""

    status: Status
    expected: str
    observed: str
    witness: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the proof, as every check sees it."""

    nonce: str
    """Marks whatever this run says and sends."""
    topology: Topology
    mailname: str
    certificate: Certificate
    """What the server should show."""
    witness: LogWitness
    login: Login | None
    """The probe's mailbox; None when it could not be made."""
    no_login: str
    """Why not."""
    letters: Letters
    selected: frozenset[str]
    """Names of the checks of this run."""
    deadline: float
    """When the last probe must be through, in seconds of `time.monotonic`."""
    unreached: dict[Target, ProbeError] = field(default_factory=dict)
    """Targets that did not greet, and why: filled by the first phase."""

    def within(self, seconds: float) -> float:
        """Return a deadline that many seconds from now, at most that of the run."""
        return min(self.deadline, time.monotonic() + seconds)

    @property
    def helo(self) -> str:
        """What SMTP probes call themselves."""
        return f"probe-{self.nonce}.invalid"


def takes_logins(bound: BoundListener) -> bool:
    """Tell whether clients log in on a listener: everywhere but on port 25."""
    return bound.name != "smtp"
