"""Checks, what they are given and what they return: the part that plug-ins' checks may use."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gatepost.model import (
    Address,
    BoundListener,
    Certificate,
    Finding,
    Home,
    IPNetwork,
    Protocol,
    Status,
    Topology,
)
from gatepost.model.words import Step, Text, Words
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.evidence.logs import Log
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.remedies import only
from gatepost.verify.targets import IPV4, Approach, Target, targets

EVERY_PROTOCOL = frozenset(protocol for protocol in Protocol if protocol.carries_mail)
HERE, OUTSIDE, CLUSTER = "here", "outside", "cluster"
"""Names of vantages."""

_CLAIMED_PORTS = 30_000
"""From 1024 up: below the ports that the kernel gives to clients (32768 and up, ip(7))."""
_TOO_LITTLE_SECONDS = 0.2

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check at one target, which has the listener's name and IP version."""

    status: Status
    expected: Words
    observed: Words
    witness: str = ""
    fix: Words = ""
    seconds: float = 0.0
    """Seconds that it took; filled in by the runner."""
    kind: str = ""
    """As in `Finding`."""
    blames: tuple[str, ...] = ()
    """Names of the listeners that no client can get through to, for what was found: checks that are
    made after this one leave their failures there to this row."""


class Vantage(ABC):
    """A place that a proof is made from: what can be seen and what can be done there."""

    name: str
    """`HERE`, `OUTSIDE` or `CLUSTER`."""
    host: str = ""
    """Name of another machine that is probed; empty: its name is that of the settings."""
    home: Home | None = None
    """The server's home; None when it is on another machine's or pod's disk."""
    speaks_as_proxy: bool = True
    """True if a probe may connect from an address of the proxy's."""
    no_mailbox: str = ""
    """The reason why the probe can have no mailbox there; empty when it can."""

    @abstractmethod
    def log(self) -> Log:
        """Return the daemons' log."""

    @abstractmethod
    def remedy(self, error: ProbeError, target: Target) -> Text:
        """Return what to do when a probe could not go on."""

    def typed(self, step: Step) -> str:
        """Return the command that does a step."""
        return str(step)

    def targets(self, topology: Topology) -> Mapping[Approach, tuple[Target, ...]]:
        """Return all addresses to probe, at each place."""
        return {approach: targets(topology, approach) for approach in Approach}

    def has_accounts(self) -> bool:
        """Tell whether there are accounts, and so a server, even if nobody answers."""
        return False

    def made(self, check: ProofCheck) -> ProofCheck:
        """Return what a check becomes there."""
        return check

    def beyond(self, checks: Iterable[ProofCheck]) -> Iterator[Finding]:
        """Yield rows for what is out of reach from there, besides those of the checks."""
        del checks
        yield from ()


class Claims:
    """Client addresses that forged or honest PROXY headers name, each handed out once in a run.

    They are "localhost", which needs no name server: a daemon looks up the reverse name of every
    client before it greets it, and may wait long for one. The port ties a daemon's line to the
    claim; it is none that the kernel gives to a probe.
    """

    def __init__(self) -> None:
        """Begin at a port that no server and no probe uses."""
        self._numbers = itertools.count(secrets.randbelow(_CLAIMED_PORTS))

    def take(self, family: str) -> Address:
        """Return an address of a family, `IPV4` or `IPV6`, that nobody else has in this run."""
        number = next(self._numbers)
        host = "127.0.0.1" if family == IPV4 else "::1"
        return Address(host, 1024 + number % _CLAIMED_PORTS)


class Shared:
    """Values that the probes of a run share, each made by the one that asks first."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._values: dict[str, object] = {}

    def once(self, name: str, kind: type[Kept], make: Callable[[], Kept]) -> Kept:
        """Return the value of this name and kind; make it if there is none yet."""
        with self._lock:
            value = self._values.get(name)
            if not isinstance(value, kind):
                value = make()
                self._values[name] = value
            return value


@dataclass(frozen=True, slots=True)
class Proof:
    """One run of the proof: the values that every check may use."""

    nonce: str
    """Marks whatever this run says and sends."""
    topology: Topology
    mailname: str
    certificate: Certificate | None
    """The one that the server should serve; None when its disk cannot be read from here."""
    witness: LogWitness
    login: Login | None
    """The probe's mailbox; None when it could not be made."""
    no_login: str
    """Why not."""
    selected: frozenset[str]
    """Names of the checks of this run."""
    deadline: float
    """When the last probe must be through, in seconds of `time.monotonic`."""
    vantage: Vantage
    relaying: tuple[IPNetwork, ...] = ()
    """Networks that may relay without logging in."""
    relaying_proxies: tuple[IPNetwork, ...] = ()
    """Proxies whose headers may name a client of those networks."""
    before: Mapping[str, object] = field(default_factory=dict)
    """Check → what its `begin` returned."""
    claims: Claims = field(default_factory=Claims)
    shared: Shared = field(default_factory=Shared)
    unreached: dict[Target, ProbeError] = field(default_factory=dict)
    """Targets that did not greet, and why: filled before the checks that need a greeting."""
    causes: dict[str, str] = field(default_factory=dict)
    """Listener → the check that found why clients cannot get through (`Outcome.blames`)."""

    def within(self, seconds: float) -> float:
        """Return a deadline that many seconds from now, at most that of the run."""
        return min(self.deadline, time.monotonic() + seconds)

    def is_down(self, target: Target) -> bool:
        """Tell whether no client was greeted there, or at a service port: behind it."""
        if target.approach is Approach.SERVICE:
            return any(one.bound == target.bound for one in self.unreached)
        return target in self.unreached

    def nobody_answers(self, public: Iterable[Target]) -> bool:
        """Tell whether no client was greeted at these targets, or none could ask."""
        return all(target in self.unreached for target in public)

    @property
    def helo(self) -> str:
        """The name that SMTP probes give."""
        return f"probe-{self.nonce}.invalid"


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """One row of the table."""

    name: str
    """Name on the command line, in the report and in JSON."""
    passes_when: str
    """The meaning of a pass, for the docs and for a row that could not be tested."""
    by_hand: Words
    """The way to test it where verify cannot, for ``{port}`` of the listener."""
    probe: Callable[[Proof, Target], Outcome] | None = None
    """Makes it at one address."""
    approach: Approach = Approach.PUBLIC
    """At which addresses it is made."""
    protocols: frozenset[Protocol] = EVERY_PROTOCOL
    """Protocols of the listeners that it is made for."""
    logins_only: bool = False
    """True if it is made only where clients log in."""
    waits: bool = False
    """True if it mostly waits, for mail to arrive or a limit of time to end."""
    judge: Callable[[Proof], Outcome] | None = None
    """Instead of `probe`: judges the complete server, once, beside the probes."""
    outside: Callable[[Proof, Target], Outcome] | None = None
    """Makes it on another machine, where there is neither a log to read nor a mailbox; None when
    nothing of it can be seen from outside."""
    behind: bool = False
    """True if it is made at the internal address too, where the public one is not known."""
    barred: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Vantage from which it is not made → the reason, for somebody who asks for it."""
    order: int = 50
    """Its place in the table: rows with a smaller number stand above."""

    after: tuple[str, ...] = ("banner",)
    """Checks that are made before it, where they are made at all: what they blame explains its
    failures."""
    last: bool = False
    """True if it is made when all others are through, with seconds of its own."""
    stops: frozenset[Trouble] = frozenset()
    """Troubles after which no other check is tried at the same target. A check that has any is made
    in each run, asked for or not; its row is shown when it was asked for."""
    explains: frozenset[Trouble] = frozenset()
    """Troubles of other checks that are this one's to report."""
    mailbox: bool = True
    """True if it may need the probe's mailbox."""
    begin: Callable[[Vantage], object] | None = None
    """Looks at the server before anything is probed; `Proof.before` has what it returns."""

    def approaches(self) -> tuple[Approach, ...]:
        """Return at which addresses it is made, in place of unknown public ones as well."""
        return (self.approach, Approach.BEHIND) if self.behind else (self.approach,)

    def concerns(self, bound: BoundListener) -> bool:
        """Tell whether it is made on a listener."""
        if self.logins_only and not takes_logins(bound):
            return False
        return bound.listener.protocol in self.protocols


def takes_logins(bound: BoundListener) -> bool:
    """Tell whether clients log in on a listener: everywhere but on port 25."""
    return bound.name != "smtp"


def time_is_up(proof: Proof, expected: Words, observed: Words, check: str) -> Outcome | None:
    """Say that an answer was not awaited long enough; None when the run has time left."""
    if time.monotonic() < proof.deadline - _TOO_LITTLE_SECONDS:
        return None
    return Outcome(
        Status.NOT_PROVEN,
        expected,
        Text(observed, ", when the run's time was up"),
        fix=Text("Run it alone: ", only(check)),
        kind="no-time",
    )
