"""A check of the proof: one row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatepost.model import BoundListener, Protocol
from gatepost.model.words import Words
from gatepost.verify.run import Outcome, Run, takes_logins
from gatepost.verify.targets import Place, Target

EVERY_PROTOCOL = frozenset(Protocol)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    """Name on the command line, in the report and in JSON."""
    passes_when: str
    """What a pass means, for the docs and for a row that could not be tested."""
    by_hand: Words
    """How to test it where verify cannot, for ``{port}`` of the listener."""
    probe: Callable[[Run, Target], Outcome] | None = None
    """Makes it at one address."""
    place: Place = Place.PUBLIC
    """At which addresses it is made."""
    protocols: frozenset[Protocol] = EVERY_PROTOCOL
    """Protocols of the listeners that it is made for."""
    logins_only: bool = False
    """Whether it is made only where clients log in."""
    waits: bool = False
    """Whether it mostly waits, for mail to arrive or a limit of time to end."""
    judge: Callable[[Run], Outcome] | None = None
    """Instead of `probe`: judges the server as a whole, once, beside the probes."""
    outside: Callable[[Run, Target], Outcome] | None = None
    """Makes it on another machine, where there is neither a log to read nor a mailbox; None when
    nothing of it can be seen from outside."""
    early: bool = False
    """Whether it is made before clients come, for it tells why they cannot get through."""
    behind: bool = False
    """Whether it is made at the internal address too, where the public one is not known."""

    def places(self) -> tuple[Place, ...]:
        """Return at which addresses it is made, in place of unknown public ones as well."""
        return (self.place, Place.BEHIND) if self.behind else (self.place,)

    late: bool = False
    """Whether it is made when all others are through."""

    def concerns(self, bound: BoundListener) -> bool:
        """Tell whether it is made on a listener."""
        if self.logins_only and not takes_logins(bound):
            return False
        return bound.listener.protocol in self.protocols
