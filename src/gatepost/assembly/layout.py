"""Settings → `Layout`: the plug-ins of a place and its `Topology`, made once for all who ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gatepost import registry
from gatepost.assembly import roles
from gatepost.assembly.clients import clients
from gatepost.assembly.listeners import from_here, table
from gatepost.assembly.planning import planned
from gatepost.assembly.units import used
from gatepost.contracts import Plugin
from gatepost.errors import UsageError
from gatepost.model import Address, BoundListener, Plan, Site, Tables, Topology
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class Layout:
    """One place: what runs there, and where it listens."""

    settings: Settings
    unit: str | None
    """The one unit that runs there; None for all units on one machine."""
    plugins: tuple[Plugin, ...]
    """The plug-ins in use, in the order of their names."""
    topology: Topology
    """The table of listeners. Those for HTTP have no public addresses yet: the plan, which knows
    the routes, adds them (`Plan.topology`)."""

    @property
    def tables(self) -> Mapping[str, Tables]:
        """The tables of the plug-ins in use, by the names of their chains, for `open_store`."""
        return _tables(self.plugins)

    def plan(self, site: Site) -> Plan:
        """Make the plan: what to write and what to start.

        Raises `SettingsError` for a home that is too deep.
        """
        return planned(self.settings, self.plugins, self.topology, site)


def layout(settings: Settings, *, ipv6: bool = True, unit: str | None = None) -> Layout:
    """Lay out a place with all units, or with one as its container has it.

    The other units are elsewhere, and their internal listeners are found by name. `ipv6` is true
    if the kernel speaks IPv6; if not, the IPv6 wildcard is left out. Raises `SettingsError`
    when a setting chooses a plug-in that is not there, when an internal address points at a port
    that demands a PROXY header, or when it is not clear which instance of a role a plug-in uses,
    and `UsageError` when no plug-in offers a role.
    """
    here = used(settings, unit)
    everywhere = here if unit is None else used(settings)
    fronted = any(plugin.fronts for plugin in here)
    view = from_here(settings, ipv6=ipv6, fronted=fronted, alone=unit is not None)
    listeners = table(registry.plugins(), view)
    names = {plugin.name for plugin in here}
    found = roles.find(settings, here, everywhere, ipv6=ipv6, unit=unit)
    _refuse_shared_ports(bound for bound in listeners if bound.daemon in names)
    return Layout(
        settings,
        unit,
        here,
        Topology(
            listeners=tuple(bound for bound in listeners if bound.daemon in names),
            offers=found.offers,
            roles=found.single,
            clients=clients(settings, listeners, names),
            trusted_proxies=settings.proxy.trusted_proxies,
            offered=found.offered,
            instances=found.instances,
            chosen=found.chosen,
        ),
    )


def _refuse_shared_ports(listeners: Iterable[BoundListener]) -> None:
    """Refuse two listeners with one port, before a running server is stopped for them."""
    owners: dict[Address, str] = {}
    for bound in listeners:
        for address in (*bound.service, *bound.internal):
            owner = owners.setdefault(address, bound.name)
            if owner != bound.name:
                raise UsageError(
                    f'The listeners "{owner}" and "{bound.name}" both have the port {address}. '
                    f"Give the one of {bound.daemon} another port, or remove its package."
                )


def tables(settings: Settings) -> Mapping[str, Tables]:
    """Return the tables of the plug-ins that these settings use; see `Layout.tables`."""
    return _tables(used(settings))


def _tables(plugins: Iterable[Plugin]) -> Mapping[str, Tables]:
    # Instances of one plug-in share its tables.
    return {plugin.tables.name: plugin.tables for plugin in plugins if plugin.tables}


def topology(settings: Settings, *, ipv6: bool = True, unit: str | None = None) -> Topology:
    """Return the topology of the listeners that carry mail; see `layout`.

    Which HTTP listeners clients reach is known to the plan only: see `Plan.topology`.
    """
    whole = layout(settings, ipv6=ipv6, unit=unit).topology
    return replace(whole, listeners=whole.mail)


def assemble(settings: Settings, site: Site, unit: str | None = None) -> Plan:
    """Make the plan of a place with all units, or with one; see `layout` and `Layout.plan`."""
    return layout(settings, ipv6=site.ipv6, unit=unit).plan(site)
