"""What the checks of one run share."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatepost.model import Address, BoundListener, Certificate, Home, IPNetwork, Status, Topology
from gatepost.model.words import Command, Text, Words
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.messages import Letters
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.objects import Cluster
from gatepost.verify.targets import IPV4, Place, Target

_CLAIMED_PORTS = 30_000
"""From 1024 up: below the ports that the kernel gives to clients (32768 and up, ip(7))."""

_TOO_LITTLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says of one target; the listener's name and family come from the target."""

    status: Status
    expected: Words
    observed: Words
    witness: str = ""
    fix: Words = ""
    seconds: float = 0.0
    """How long it took; filled in by the runner."""
    kind: str = ""
    """As in `Finding`."""


class Claims:
    """Client addresses that forged or honest PROXY headers name, each handed out once in a run.

    They are "localhost", which needs no name server: a daemon looks up the reverse name of every
    client before it greets it, and may wait long for one. The port ties a daemon's line to the
    claim; it is none that the kernel gives to a probe.
    """

    def __init__(self) -> None:
        """Begin where nobody listens and no probe comes from."""
        self._numbers = itertools.count(secrets.randbelow(_CLAIMED_PORTS))

    def take(self, family: str) -> Address:
        """Return an address of a family, `IPV4` or `IPV6`, that nobody else has in this run."""
        number = next(self._numbers)
        host = "127.0.0.1" if family == IPV4 else "::1"
        return Address(host, 1024 + number % _CLAIMED_PORTS)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the proof, as every check sees it."""

    nonce: str
    """Marks whatever this run says and sends."""
    topology: Topology
    mailname: str
    certificate: Certificate | None
    """What the server should show; None when its disk cannot be read from here."""
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
    outside: str = ""
    """Name or address of another machine that is probed from outside; empty: the server here."""
    cluster: Cluster | None = None
    """The cluster, when verify runs in a pod of its own."""
    relaying: tuple[IPNetwork, ...] = ()
    """Networks that may relay without logging in."""
    relaying_proxies: tuple[IPNetwork, ...] = ()
    """Proxies whose headers may name a client of those networks."""
    home: Home | None = None
    """Where the server lives; None when it is another machine's or pod's."""
    before: object = None
    """What ran at the beginning; see `gatepost.verify.checks.configuration`."""
    claims: Claims = field(default_factory=Claims)
    unreached: dict[Target, ProbeError] = field(default_factory=dict)
    """Targets that did not greet, and why: filled by the first phase."""
    causes: dict[str, str] = field(default_factory=dict)
    """Listener → the check that found why clients cannot get through: filled before they come."""

    def within(self, seconds: float) -> float:
        """Return a deadline that many seconds from now, at most that of the run."""
        return min(self.deadline, time.monotonic() + seconds)

    def is_down(self, target: Target) -> bool:
        """Tell whether no client was greeted there, or at a service port: behind it."""
        if target.place is Place.SERVICE:
            return any(one.bound == target.bound for one in self.unreached)
        return target in self.unreached

    def nobody_answers(self, public: Iterable[Target]) -> bool:
        """Tell whether no client was greeted at these targets, or none could ask."""
        return all(target in self.unreached for target in public)

    @property
    def helo(self) -> str:
        """What SMTP probes call themselves."""
        return f"probe-{self.nonce}.invalid"


def takes_logins(bound: BoundListener) -> bool:
    """Tell whether clients log in on a listener: everywhere but on port 25."""
    return bound.name != "smtp"


def time_is_up(run: Run, expected: Words, observed: Words, check: str) -> Outcome | None:
    """Say that an answer was not awaited long enough; None when the run has time left."""
    if time.monotonic() < run.deadline - _TOO_LITTLE_SECONDS:
        return None
    return Outcome(
        Status.NOT_PROVEN,
        expected,
        Text(observed, ", when the run's time was up"),
        fix=Text("Run it alone: ", Command("verify", f"--only {check}")),
        kind="no-time",
    )
