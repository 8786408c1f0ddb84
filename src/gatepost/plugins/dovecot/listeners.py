"""Dovecot's rows of the listener table, and the login services that answer on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gatepost.model import (
    DELIVERY,
    QUOTA_STATUS,
    SASL,
    Address,
    BoundListener,
    Endpoint,
    Listener,
    Offer,
    Protocol,
    Role,
    SocketPath,
    Tls,
)

IMAP = Listener(
    name="imap",
    protocol=Protocol.IMAP,
    tls=Tls.STARTTLS,
    public_port=143,
    entry_point_port=33143,
    service_port=31143,
    internal_port=32143,
    client_setting="MDA_IMAP_ADDRESS",
)
IMAPS = Listener(
    name="imaps",
    protocol=Protocol.IMAP,
    tls=Tls.IMPLICIT,
    public_port=993,
    entry_point_port=33993,
    service_port=31993,
    internal_port=32993,
    client_setting="MDA_IMAPS_ADDRESS",
)
POP3 = Listener(
    name="pop3",
    protocol=Protocol.POP3,
    tls=Tls.STARTTLS,
    public_port=110,
    entry_point_port=33110,
    service_port=31110,
    internal_port=32110,
    client_setting="MDA_POP3_ADDRESS",
)
POP3S = Listener(
    name="pop3s",
    protocol=Protocol.POP3,
    tls=Tls.IMPLICIT,
    public_port=995,
    entry_point_port=33995,
    service_port=31995,
    internal_port=32995,
    client_setting="MDA_POP3S_ADDRESS",
)
SIEVE = Listener(
    name="sieve",
    protocol=Protocol.SIEVE,
    tls=Tls.STARTTLS,
    public_port=4190,
    entry_point_port=34190,
    service_port=31190,
    internal_port=32190,
)
LISTENERS = (IMAP, IMAPS, POP3, POP3S, SIEVE)


@dataclass(frozen=True, slots=True)
class InetListener:
    """One ``inet_listener`` block: a port on some addresses."""

    name: str
    """Unique in its service; a listener's service port has the listener's own name, by which it
    takes the place of the one that Dovecot would open by default."""
    addresses: tuple[str, ...]
    port: int
    implicit_tls: bool
    proxied: bool
    """True if every connection must begin with a PROXY header."""


API = Role("api")
"""HTTP interface for administration."""

OFFERS = {
    DELIVERY: Offer(2003, "LMTP: takes a message for a mailbox", "lmtp", "MDA_LMTP_ADDRESS"),
    SASL: Offer(2004, "checks logins for SMTP AUTH", "sasl", "MDA_SASL_ADDRESS"),
    QUOTA_STATUS: Offer(
        2005,
        "would this mailbox accept this message?",
        "quota-status",
        "MDA_QUOTA_STATUS_ADDRESS",
    ),
    # The name "http" is what makes doveadm speak HTTP there.
    API: Offer(8080, "HTTP administration of the mail store", "http"),
}
"""The roles of the mail store, for Postfix and others."""

_SERVICES = {
    DELIVERY: "lmtp",
    SASL: "auth",
    QUOTA_STATUS: "quota-status",
    API: "doveadm",
}
"""Role → Dovecot's service that offers it."""


@dataclass(frozen=True, slots=True)
class TcpListener:
    """A port of a service for programs elsewhere: an ``inet_listener`` block."""

    service: str
    name: str
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class SocketListener:
    """A UNIX socket of a service for programs here: a ``unix_listener`` block."""

    service: str
    name: str
    """File name below ``base_dir``."""
    user: str | None
    """The one user, besides root, who may connect; None: the socket is not made."""


def tcp_listeners(offered: Mapping[Role, tuple[Endpoint, ...]]) -> tuple[TcpListener, ...]:
    """Return a port for each role that is offered to programs elsewhere."""
    found = []
    for role, endpoints in offered.items():
        addresses = tuple(one for one in endpoints if isinstance(one, Address))
        if role in OFFERS and addresses:
            service, name = _SERVICES[role], OFFERS[role].socket or role
            found.append(TcpListener(service, name, _hosts(addresses), addresses[0].port))
    return tuple(found)


def socket_listeners(
    offered: Mapping[Role, tuple[Endpoint, ...]], mail_user: str
) -> tuple[SocketListener, ...]:
    """Return every UNIX socket that Dovecot would open to all users of the machine, and the roles.

    The programs that read mail run as `mail_user`, and look accounts, hosts and indexes up.
    """
    sockets = {
        ("lmtp", "lmtp"): None,
        ("auth", "auth-userdb"): mail_user,
        ("indexer", "indexer"): mail_user,
        ("dns-client", "dns-client"): mail_user,
        ("imap-urlauth-login", "imap-urlauth"): None,
    }
    for role, (endpoint, *_) in offered.items():
        if role in OFFERS and isinstance(endpoint, SocketPath):
            sockets[_SERVICES[role], endpoint.path.name] = endpoint.user
    return tuple(SocketListener(*names, user) for names, user in sockets.items())


@dataclass(frozen=True, slots=True)
class LoginService:
    """One ``service …-login`` block: who answers before the login."""

    name: str
    listeners: tuple[InetListener, ...]
    process_limit: int
    """Most processes at once; with the clients of each, the most connections."""
    process_min_avail: int
    """Processes that are there from the beginning and share new connections. More than one for
    IMAP, whose TLS handshakes would otherwise share one processor after every restart."""


_LOGIN_SERVICES = {
    Protocol.IMAP: ("imap-login", 30, 2),
    Protocol.POP3: ("pop3-login", 5, 1),
    Protocol.SIEVE: ("managesieve-login", 2, 0),
}
"""Protocol → name of the service, `process_limit`, `process_min_avail`."""

CLIENTS_OF_A_LOGIN_PROCESS = 400


def login_services(listeners: Iterable[BoundListener]) -> tuple[LoginService, ...]:
    """Return a login service for each protocol, with service ports and internal ports."""
    rows = tuple(listeners)
    return tuple(
        LoginService(
            name=name,
            listeners=tuple(
                inet for bound in rows if bound.listener.protocol is protocol for inet in _of(bound)
            ),
            process_limit=limit,
            process_min_avail=minimum,
        )
        for protocol, (name, limit, minimum) in _LOGIN_SERVICES.items()
    )


def _of(bound: BoundListener) -> Iterator[InetListener]:
    implicit = bound.listener.tls is Tls.IMPLICIT
    yield InetListener(
        name=bound.name,
        addresses=_hosts(bound.service),
        port=bound.listener.service_port,
        implicit_tls=implicit,
        proxied=bound.proxied,
    )
    yield InetListener(
        name=f"{bound.name}-internal",
        addresses=_hosts(bound.internal),
        port=bound.listener.internal_port,
        implicit_tls=implicit,
        proxied=False,
    )


def _hosts(addresses: Iterable[Address]) -> tuple[str, ...]:
    return tuple(address.host for address in addresses)
