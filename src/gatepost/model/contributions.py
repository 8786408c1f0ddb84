"""Contributions of plug-ins to each other. The plug-in that uses a kind defines it here.

No I/O, and no decisions. A plug-in neither edits the files of another nor asks for it by name.
"""

from __future__ import annotations

import re
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
    """The socket at which a daemon takes one kind of connections of one listener.

    The plug-in that guards the listener reads PROXY headers and hands the connections over.
    """

    listener: str
    socket: Path
    """UNIX socket that takes a connected socket, then its addresses."""
    user: str
    """The system user who may connect to it."""
    standing: Standing = Standing.NAMED
    """Kind of the connections. Each listener has `Standing.NAMED`, which also serves the kinds
    that the listener has no service for."""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Requests that a reverse proxy passes on to an HTTP listener.

    Every proxy consumes it: it takes HTTPS on its public port with the certificate of the mail
    server, and passes HTTP on with the client's address as the only value of ``X-Forwarded-For``.
    It removes ``Forwarded`` (RFC 7239), so a client cannot name an address there.
    """

    listener: str
    """Name of the listener (`Listener.http`), which need not be the plug-in's own."""
    path: str = "/"
    """The beginning of the request's path: ``/toy`` is for ``/toy`` and ``/toy/bell``, not for
    ``/toys``. The plug-in is given the whole path."""
    host: str = ""
    """Host name that the request is for; empty for every name."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a path or host that no request has."""
        if not re.fullmatch(r"/|(/(?!\.{1,2}(?:/|$))[\w.~-]+)+", self.path, re.ASCII):
            raise ValueError(f'route to {self.listener}: "{self.path}" is no path such as /toy')
        if self.host and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", self.host):
            raise ValueError(f'route to {self.listener}: "{self.host}" is no host name')
