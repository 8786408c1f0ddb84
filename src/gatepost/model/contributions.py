"""What plug-ins give each other. The plug-in that uses a kind of contribution defines it here.

No I/O, and no decisions. A plug-in neither edits the files of another nor asks for it by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Standing(StrEnum):
    """Kind of a connection that is handed over, by what is known of its client."""

    NAMED = "named"
    """A PROXY header named the client, or nothing more is known than its own address."""
    RELAYING = "relaying"
    """The client's address counts for ``MYNETWORKS``: its own, or one that a proxy named which may
    speak for those networks (``MTA_RELAYING_PROXIES``)."""
    ENCRYPTED = "encrypted"
    """A PROXY header says that the client's TLS ends at the proxy."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """Where a daemon takes one kind of connections of one listener.

    The plug-in that guards the listener reads PROXY headers and hands the connections over.
    """

    listener: str
    socket: Path
    """UNIX socket that takes a connected socket, then its addresses."""
    user: str
    """Who may connect to it."""
    standing: Standing = Standing.NAMED
    """Kind of the connections. Each listener has `Standing.NAMED`, which also serves the kinds
    that the listener has no service for."""
