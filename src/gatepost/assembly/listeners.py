"""Listeners of plug-ins → the addresses that they have in one place."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.contracts import Plugin
from gatepost.model import Address, BoundListener, IPAddress, Listener
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts


def bound_here(
    settings: Settings, chosen: Iterable[Plugin], *, ipv6: bool = True, fronted: bool = False
) -> tuple[BoundListener, ...]:
    """Bind the listeners of some plug-ins; `fronted` when a proxy of ours listens before them."""
    listen = settings.listen
    service_hosts = hosts(listen.service_bind_address, ipv6=ipv6)
    public_hosts = hosts(listen.public_bind_address, ipv6=ipv6) if fronted else ()
    standard = listen.public_ports is PublicPorts.STANDARD
    return tuple(
        _bind(
            listener,
            plugin,
            proxied=plugin.proxied(settings),
            public=tuple(
                Address(host, listener.public_port if standard else listener.entry_point_port)
                for host in public_hosts
            ),
            service_hosts=service_hosts,
        )
        for plugin in chosen
        for listener in plugin.listeners
    )


def _bind(
    listener: Listener,
    plugin: Plugin,
    *,
    proxied: bool,
    public: tuple[Address, ...],
    service_hosts: tuple[str, ...],
) -> BoundListener:
    service = tuple(Address(host, listener.service_port) for host in service_hosts)
    return BoundListener(
        listener=listener,
        daemon=plugin.name,
        proxied=proxied,
        # Without a proxy of ours, clients of a plain port come straight to the daemon.
        public=public or (() if proxied else service),
        service=service,
        internal=tuple(Address(host, listener.internal_port) for host in service_hosts),
    )


def hosts(addresses: Iterable[IPAddress], *, ipv6: bool) -> tuple[str, ...]:
    """Write addresses as hosts; a kernel without IPv6 has no IPv6 wildcard."""
    kept = [a for a in addresses if ipv6 or not (a.version == 6 and a.is_unspecified)]  # noqa: PLR2004
    return tuple(str(address) for address in kept)
