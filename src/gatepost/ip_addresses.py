"""One way to write an IP address, whatever socket, header, setting or log line it comes from.

A dual-stack socket and the proxies that have one write an IPv4 address as IPv6
(``::ffff:192.0.2.1``, RFC 4291 section 2.5.5.2). It is an IPv4 address all the same: a rule, limit
or ban for it must meet both forms.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_MAPPED = "::ffff:"
_MAPPED_PREFIX = 96
"""Bits before the IPv4 address in ``::ffff:0:0/96``."""


def plain(host: str) -> str:
    """Return an address in numbers, as inet_ntop(3) writes it, in its one form.

    The scope of a link-local address (``fe80::1%eth0``) is left out: it is known to this machine
    only.
    """
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host.removeprefix(_MAPPED) if "." in host and host.startswith(_MAPPED) else host


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address that anybody may have written; raise `ValueError` when it is none."""
    found = ipaddress.ip_address(text)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def within(
    host: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    """Tell whether an address is inside one of these networks; text is read in its one form.

    Raises `ValueError` when the text is no IP address.
    """
    found = address(host.partition("%")[0]) if isinstance(host, str) else host
    return any(found in network for network in networks)


def network_within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network,
    outers: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    """Tell whether a network lies inside one of others."""
    return any(
        inner.network_address in outer and inner.prefixlen >= outer.prefixlen for outer in outers
    )


def network(text: str, *, strict: bool = True) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a network that anybody may have written; raise `ValueError` when it is none.

    With `strict`, bits beyond the prefix are an error. ``::ffff:192.0.2.0/120`` is 192.0.2.0/24.
    """
    found = ipaddress.ip_network(text, strict=strict)
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= _MAPPED_PREFIX:
        mapped = found.network_address.ipv4_mapped
        if mapped:
            return ipaddress.IPv4Network((mapped, found.prefixlen - _MAPPED_PREFIX))
    return found
