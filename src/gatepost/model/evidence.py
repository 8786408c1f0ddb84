"""Observations of daemons, and the findings made of them. No I/O, and no decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.model.words import Words


class Event(StrEnum):
    """The kind of event that a daemon's log line reports."""

    CONNECT = "connect"
    LOGIN = "login"
    LOGIN_FAILED = "login-failed"
    DISCONNECT = "disconnect"
    REFUSED = "refused"
    """A peer whose PROXY header was not taken, or did not come; no client was served."""


@dataclass(frozen=True, slots=True)
class Observation:
    """An event as a daemon reports it, with its own words."""

    daemon: str
    event: Event
    client: str
    """The client's IP address as the daemon believes it to be."""
    port: int | None
    """The client's TCP port, where the daemon tells it."""
    user: str | None
    line: str
    """The log line itself."""
    internal: bool | None = None
    """True for a client of an internal listener; None if the daemon does not report it."""


class Status(StrEnum):
    """The result of a finding."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    RISK = "risk"
    """It works and is dangerous."""
    NOT_PROVEN = "not_proven"
    """It could not be tested from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the proof."""

    check: str
    listener: str
    family: str
    """``IPv4``, ``IPv6`` or ``-`` where it does not matter."""
    status: Status
    expected: Words
    observed: Words
    witness: str = ""
    """The evidence: a log line, a header, a certificate."""
    fix: Words = ""
    """The next step when the status is not a pass."""
    seconds: float = field(default=0.0, compare=False)
    """Duration of the check, waiting for others included."""
    kind: str = ""
    """The fault in one word for programs, such as ``refused`` or ``expired``; empty for a pass
    and where the check tells no kinds apart."""
