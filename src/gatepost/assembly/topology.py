"""Settings → `Topology`: the one table of listeners that every side reads."""

from __future__ import annotations

from gatepost import registry
from gatepost.assembly.clients import clients
from gatepost.assembly.listeners import bound_here
from gatepost.assembly.roles import offers, roles
from gatepost.assembly.units import used
from gatepost.model import Topology
from gatepost.settings import Settings


def topology(settings: Settings, *, ipv6: bool = True, unit: str | None = None) -> Topology:
    """Bind the listener table to the addresses of these settings.

    With a `unit`, as its container has them: the others are elsewhere, and their
    internal listeners are found by name. `ipv6` tells whether the kernel speaks IPv6; if not,
    the IPv6 wildcard is left out. Raises `SettingsError` when an internal address points at a port
    that demands a PROXY header.
    """
    here = used(settings, unit)
    fronted = any(plugin.fronts for plugin in here)
    everywhere = bound_here(settings, registry.plugins(), ipv6=ipv6, fronted=fronted)
    names = {plugin.name for plugin in here}
    offered = offers(settings, here, ipv6=ipv6, unit=unit)
    return Topology(
        listeners=tuple(bound for bound in everywhere if bound.daemon in names),
        offers=offered,
        roles=roles(settings, offered),
        clients=clients(settings, everywhere, names),
        trusted_proxies=settings.proxy.trusted_proxies,
    )
