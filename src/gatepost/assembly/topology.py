"""Settings → `Topology`: the one table of listeners that every side reads."""

from __future__ import annotations

from gatepost import registry
from gatepost.assembly import roles
from gatepost.assembly.clients import clients
from gatepost.assembly.listeners import bound_here
from gatepost.assembly.units import used
from gatepost.model import Topology
from gatepost.settings import Settings


def topology(settings: Settings, *, ipv6: bool = True, unit: str | None = None) -> Topology:
    """Bind the listener table to the addresses of these settings.

    With a `unit`, as its container has them: the others are elsewhere, and their internal listeners
    are found by name. `ipv6` tells whether the kernel speaks IPv6; if not, the IPv6 wildcard is
    left out. Raises `SettingsError` when an internal address points at a port that demands a PROXY
    header, or when it is not clear which instance of a role a plug-in uses, and `UsageError` when
    no plug-in offers a role.
    """
    here = used(settings, unit)
    everywhere = here if unit is None else used(settings)
    fronted = any(plugin.fronts for plugin in here)
    listeners = bound_here(settings, registry.plugins(), ipv6=ipv6, fronted=fronted)
    names = {plugin.name for plugin in here}
    found = roles.find(settings, here, everywhere, ipv6=ipv6, unit=unit)
    return Topology(
        listeners=tuple(bound for bound in listeners if bound.daemon in names),
        offers=found.offers,
        roles=found.single,
        clients=clients(settings, listeners, names),
        trusted_proxies=settings.proxy.trusted_proxies,
        offered=found.offered,
        instances=found.instances,
        chosen=found.chosen,
    )
