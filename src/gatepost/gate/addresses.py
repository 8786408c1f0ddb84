"""One way to write an IP address, whatever socket it comes from."""

from __future__ import annotations

_MAPPED = "::ffff:"


def plain(host: str) -> str:
    """Return an address in numbers as Postfix and our networks know it.

    An IPv4 address that is written as IPv6 (``::ffff:192.0.2.1``) is an IPv4 address; the scope of
    a link-local one (``fe80::1%eth0``) is known to this machine only.
    """
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host.removeprefix(_MAPPED) if "." in host and host.startswith(_MAPPED) else host
