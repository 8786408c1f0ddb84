"""Addresses, and the table of listeners. No I/O, and no decisions."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NewType

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address: an IP address or host name, and a port from 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write ``host:port``, or ``[v6]:port`` for an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        """True if the host is an IPv6 address in numbers."""
        return ":" in self.host

    @property
    def reachable(self) -> Address:
        """The same address as a program on this machine connects to it: no wildcard."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return Address(loopback.get(self.host, self.host), self.port)


SOCKET_PATH_BYTES = 107
"""Most bytes of a UNIX socket's path: ``sun_path`` in unix(7) without the closing zero."""


@dataclass(frozen=True, slots=True, order=True)
class SocketPath:
    """A UNIX socket, for programs on the same machine."""

    path: Path
    user: str
    """The one system user, besides root, who may connect."""

    def __str__(self) -> str:
        """Write the path."""
        return str(self.path)

    @property
    def reachable(self) -> SocketPath:
        """The same socket: it has no wildcard."""
        return self


Endpoint = Address | SocketPath
"""The address of a program for others: over a network, or on this machine only."""


class Protocol(StrEnum):
    """The protocol of a listener, after any PROXY header."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"
    SIEVE = "sieve"
    HTTP = "http"

    @property
    def carries_mail(self) -> bool:
        """True if mail programs or mail servers speak it."""
        return self is not Protocol.HTTP

    @property
    def greeting(self) -> bytes:
        """The first bytes of a server that is ready; empty where the client speaks first.

        RFC 5321 section 4.2, RFC 9051 section 7.1, RFC 1939 section 4, RFC 5804 section 1.3.
        """
        return {
            Protocol.HTTP: b"",
            Protocol.SMTP: b"220 ",
            Protocol.IMAP: b"* OK",
            Protocol.POP3: b"+OK",
            Protocol.SIEVE: b'"IMPLEMENTATION"',
        }[self]


class Tls(StrEnum):
    """The beginning of TLS on a listener (RFC 8314)."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    PROXY = "proxy"
    """The reverse proxy speaks TLS with the client, and none with the plug-in."""


HTTPS_PORT = 443
"""The port of all websites (RFC 9110, section 4.2.2)."""
HTTPS_ENTRY_POINT_PORT = 33443
"""The reverse proxy's port for HTTPS with ``PUBLIC_PORTS=entrypoints``."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One row of the listener table, the same on every installation."""

    name: str
    """Name of the listener, of the proxy's entry point and of the port in a cluster."""
    protocol: Protocol
    tls: Tls
    public_port: int
    """The port that mail programs and other servers know (25, 587, …)."""
    entry_point_port: int
    """The reverse proxy's port with ``PUBLIC_PORTS=entrypoints``."""
    service_port: int
    """The daemon's port for the proxy; demands a PROXY header when one is upstream."""
    internal_port: int
    """The daemon's port for Gatepost's own clients; never takes a PROXY header. 0 for HTTP, which
    has none."""
    client_setting: str = ""
    """Setting that says where Gatepost's own clients connect instead, such as
    ``MDA_IMAP_ADDRESS``; empty when there is none."""
    guarded: bool = False
    """True if the daemon would believe a PROXY header from any peer. Where a proxy is upstream, the
    plug-in that consumes `Handoff` then answers on the service port in its place."""

    @classmethod
    def http(cls, name: str, port: int) -> Listener:
        """Return the row of a plug-in that speaks HTTP on a port of its own.

        It is for the reverse proxy, which passes requests on where a plug-in contributes an
        `HttpRoute`. All routes share the proxy's one port for HTTPS.
        """
        return cls(name, Protocol.HTTP, Tls.PROXY, HTTPS_PORT, HTTPS_ENTRY_POINT_PORT, port, 0)

    @property
    def greeting(self) -> bytes:
        """The first bytes that a client reads; empty where TLS comes before it."""
        return b"" if self.tls is Tls.IMPLICIT else self.protocol.greeting


@dataclass(frozen=True, slots=True)
class BoundListener:
    """A listener with the addresses it has in one installation."""

    listener: Listener
    daemon: str
    """Name of the daemon that answers on it."""
    proxied: bool
    """True if the service port demands a PROXY header."""
    public: tuple[Address, ...]
    """The addresses for clients; empty when a proxy that is not ours stands in front, and for HTTP
    where no route leads to it."""
    service: tuple[Address, ...]
    internal: tuple[Address, ...]

    @property
    def name(self) -> str:
        """Name of the listener."""
        return self.listener.name


Role = NewType("Role", str)
"""A service of one plug-in for others, found by its role and never by the plug-in's name.

Any plug-in may define one: ``Role("filter")``. Here are those that two plug-ins know, the one that
offers and the one that needs it.
"""

DELIVERY = Role("delivery")
"""LMTP (RFC 2033): takes a message for a mailbox."""
SASL = Role("sasl")
"""Checks a login for SMTP AUTH, by the mail store's own protocol."""
QUOTA_STATUS = Role("quota-status")
"""Tells the MTA whether a mailbox would accept a message, by the MTA's policy protocol."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The endpoint of a role that a plug-in offers, which depends on where its users are.

    Several plug-ins may offer one role. Each is an instance of it and has the plug-in's name.
    """

    port: int
    """TCP port, for users in another container."""
    purpose: str
    """Its purpose in a few words, for the page of ports."""
    socket: str | None = None
    """Name of the UNIX socket for users on the same machine; None: TCP there too."""
    setting: str = ""
    """Setting that says where the role is found instead; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The one table of listeners and roles that every side reads."""

    listeners: tuple[BoundListener, ...]
    """The rows of the daemons that run here: all, or those of one service in a container."""
    roles: Mapping[Role, Endpoint]
    """The endpoint of each role that one instance offers, here or elsewhere, as its users connect
    to it. A plug-in asks `role` instead, which also knows the instance that it uses."""
    clients: Mapping[str, Address]
    """Listener name → where Gatepost's own clients connect (the ``MDA_*``/``MTA_*_ADDRESS``)."""
    trusted_proxies: tuple[IPNetwork, ...]
    offers: Mapping[Role, tuple[Endpoint, ...]] = field(default_factory=dict)
    """The endpoints at which plug-ins here offer each role, all instances together."""
    offered: Mapping[str, Mapping[Role, tuple[Endpoint, ...]]] = field(default_factory=dict)
    """Plug-in that runs here → where it offers each of its roles."""
    instances: Mapping[Role, Mapping[str, Endpoint]] = field(default_factory=dict)
    """Role → plug-in that offers it, here or elsewhere → where users find it."""
    chosen: Mapping[str, Mapping[Role, str]] = field(default_factory=dict)
    """Plug-in that runs here → role that it needs → plug-in whose instance it uses."""

    def role(self, client: str, role: Role) -> Endpoint:
        """Return where a plug-in finds a role; raise `KeyError` when it does not need the role."""
        return self.instances[role][self.chosen[client][role]]

    def offers_of(self, plugin: str) -> Mapping[Role, tuple[Endpoint, ...]]:
        """Return where one plug-in offers its roles; nothing when it runs elsewhere."""
        return self.offered.get(plugin, {})

    @property
    def mail(self) -> tuple[BoundListener, ...]:
        """The listeners that carry mail, in table order."""
        return tuple(bound for bound in self.listeners if bound.listener.protocol.carries_mail)

    def of(self, daemon: str) -> tuple[BoundListener, ...]:
        """Return the listeners that one daemon answers on, in table order."""
        return tuple(bound for bound in self.listeners if bound.daemon == daemon)

    def named(self, name: str) -> BoundListener:
        """Return the listener of that name; raise `KeyError` when there is none."""
        for bound in self.listeners:
            if bound.name == name:
                return bound
        raise KeyError(name)
