"""The listener table as probes see it: where to connect, and from which addresses."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import psutil

from gatepost import ip_addresses
from gatepost.assembly import client_settings, units_of
from gatepost.model import Address, BoundListener, IPNetwork, Listener, Topology

IPV4 = "IPv4"
IPV6 = "IPv6"
_LOOPBACK_SOURCES = tuple(f"127.0.0.{last}" for last in (77, 78, *range(79, 255)))
"""All of 127.0.0.0/8 is this machine: each of these is a client of its own. The first numbers are
left out, for that is where proxies and services sit."""


class Approach(Enum):
    """The way by which a check reaches a listener."""

    PUBLIC = "public"
    """As clients do: every public address of every listener."""
    SERVICE = "service"
    """As the proxy does: the service ports that demand a PROXY header."""
    CLIENT = "client"
    """As Gatepost's own clients do: the six ``MDA_*`` and ``MTA_*`` addresses."""
    BEHIND = "behind"
    """Behind a proxy that is not ours: an internal address of each listener whose public ones are
    not known. The same daemon answers there from the same configuration, without a header."""
    CLUSTER = "cluster"
    """Nowhere: the cluster's API is asked about the listener. Its Service stands for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one listener, at one place."""

    bound: BoundListener
    address: Address
    sources: tuple[str, ...]
    """Addresses of this machine that a probe may come from, two or as many as there are: at a
    service port untrusted ones only, elsewhere those first."""
    approach: Approach = Approach.PUBLIC
    trusted: str | None = None
    """At a service port: an address of this machine in `TRUSTED_PROXIES`, None when none is."""

    @property
    def listener(self) -> Listener:
        """The listener's row in the table."""
        return self.bound.listener

    @property
    def family(self) -> str:
        """``IPv4``, ``IPv6``, or ``-`` for a host name, which may be either."""
        if not is_number(self.address.host):
            return "-"
        return IPV6 if self.address.is_ipv6 else IPV4

    @property
    def source(self) -> str | None:
        """The source of a probe that needs no second one; None lets the kernel choose."""
        return self.sources[0] if self.sources else None


def is_number(host: str) -> bool:
    """Tell whether a host is an IP address in numbers and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def targets(topology: Topology, approach: Approach) -> tuple[Target, ...]:
    """Return all addresses at a place, in table order.

    A wildcard is probed at the loopback address of its family.
    """
    match approach:
        case Approach.PUBLIC:
            return _public(topology)
        case Approach.SERVICE:
            return _service(topology)
        case Approach.CLIENT:
            return tuple(
                Target(bound, topology.clients[bound.name].reachable, (), approach)
                for bound in topology.mail
                if bound.name in client_settings() and bound.name in topology.clients
            )
        case Approach.BEHIND:
            return tuple(
                Target(bound, address, (), approach)
                for bound in topology.mail
                if not bound.public
                for address in dict.fromkeys(one.reachable for one in bound.internal)
            )
        case Approach.CLUSTER:
            services = units_of()
            return tuple(
                Target(bound, Address(service, bound.listener.public_port), (), approach)
                for bound in topology.mail
                if (service := services.get(bound.daemon))
            )


def _public(topology: Topology) -> tuple[Target, ...]:
    taken = {a.host for b in topology.listeners for a in (*b.public, *b.service, *b.internal)}
    here = addresses_of_this_machine()
    sources: dict[str, tuple[str, ...]] = {}
    found: list[Target] = []
    for bound in topology.mail:
        for public in dict.fromkeys(address.reachable for address in bound.public):
            if public.host not in sources:
                sources[public.host] = sources_for(public, topology.trusted_proxies, taken, here)
            found.append(Target(bound, public, sources[public.host]))
    return tuple(found)


def _service(topology: Topology) -> tuple[Target, ...]:
    here = addresses_of_this_machine()
    networks = topology.trusted_proxies
    found: list[Target] = []
    for bound in topology.mail:
        if not bound.proxied:
            continue
        for service in dict.fromkeys(address.reachable for address in bound.service):
            # An address of the proxy's own network, then any other that is trusted.
            inside = [str(n.network_address) for n in networks if n.num_addresses == 1]
            candidates = [*inside, *here, *_LOOPBACK_SOURCES]
            trusted = next(
                (
                    s
                    for s in candidates
                    if ip_addresses.within(s, networks) and _reaches(s, service)
                ),
                None,
            )
            strangers = tuple(
                source
                for source in sources_for(service, networks, {service.host}, here)
                if not ip_addresses.within(source, networks)
            )
            found.append(Target(bound, service, strangers, Approach.SERVICE, trusted))
    return tuple(found)


def has_route(address: Address) -> bool:
    """Tell whether the kernel knows a way from this machine to an address."""
    try:
        return _reaches(None, address)
    except OSError:  # it does not speak the address's family at all
        return False


def sources_for(
    address: Address,
    trusted: Iterable[IPNetwork],
    taken: Iterable[str],
    here: Iterable[str],
) -> tuple[str, ...]:
    """Choose up to two source addresses that can reach an address.

    Addresses in `trusted` networks and those `taken` by servers come last: a probe from
    the proxy's own address cannot be told apart from the proxy. IPv6 addresses near the server's
    come first, as the kernel prefers them (RFC 6724, section 5, rule 8); others may be temporary.
    """
    trusted, taken = tuple(trusted), frozenset(taken)
    candidates = _nearest(address, here) if address.is_ipv6 else [*_LOOPBACK_SOURCES, *here]
    doubtful = [
        source for source in candidates if source in taken or ip_addresses.within(source, trusted)
    ]
    chosen: list[str] = []
    for source in [*(c for c in candidates if c not in doubtful), *doubtful]:
        if source not in chosen and _reaches(source, address):
            chosen.append(source)
        if len(chosen) == 2:  # noqa: PLR2004
            break
    return tuple(chosen)


def _nearest(address: Address, here: Iterable[str]) -> list[str]:
    """Sort IPv6 addresses by how much of their beginning they share with one."""
    there = int(ipaddress.IPv6Address(address.host))
    return sorted(
        (host for host in here if ":" in host),
        key=lambda host: (int(ipaddress.IPv6Address(host)) ^ there).bit_length(),
    )


def addresses_of_this_machine() -> tuple[str, ...]:
    """Return its addresses, those that need a scope (link-local IPv6) left out."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in {socket.AF_INET, socket.AF_INET6} and "%" not in address.address
    ]
    return tuple(dict.fromkeys(found))


def _reaches(source: str | None, address: Address) -> bool:
    """Ask the kernel's routes, by a UDP socket that sends nothing."""
    if source and (":" in source) != address.is_ipv6:
        return False
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        try:
            if source:
                route.bind((source, 0))
            route.connect((address.host, address.port))
        except OSError:
            return False
    # The kernel sends from ::1 to anywhere, and no answer comes back.
    return not source or not _is_loopback(source) or _is_here(address)


def _is_here(address: Address) -> bool:
    """Tell whether an address is this machine's: the kernel then sends from that very address."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        route.connect((address.host, address.port))
        return _is_loopback(address.host) or route.getsockname()[0] == address.host


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
