"""The topology as others see it: from outside, and in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatepost.assembly.layout import layout
from gatepost.assembly.listeners import View, at, from_outside, table
from gatepost.assembly.units import internal_service
from gatepost.contracts import Plugin
from gatepost.model import Address, BoundListener, Listener, Topology
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts


def seen_from_outside(
    plugins: Iterable[Plugin], hosts: Iterable[str], ports: PublicPorts
) -> Topology:
    """Return the topology as a client elsewhere sees it: public ports and nothing behind them."""
    return Topology(_mail(plugins, from_outside(hosts, ports)), {}, {}, ())


def _mail(plugins: Iterable[Plugin], view: View) -> tuple[BoundListener, ...]:
    """Bind the listeners that carry mail: the HTTP routes of elsewhere are unknown."""
    return tuple(b for b in table(plugins, view) if b.listener.protocol.carries_mail)


def seen_in_cluster(
    settings: Settings, front: str, hosts: Callable[[str], Iterable[str]]
) -> Topology:
    """Return the topology as a pod of its own sees it, in which each unit runs elsewhere.

    `front` is the name of the proxy's service, empty when none is known; `hosts` returns the
    addresses of a service by its name, or the name itself when it does not resolve. It is asked
    once for each name. Raises as `layout` does.
    """
    here = layout(settings)
    names = {plugin.unit for plugin in here.plugins} - {""}
    every = {front, *names, *map(internal_service, names)} - {""}
    known = {name: tuple(hosts(name)) for name in sorted(every)}

    def public(_plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        return at(known.get(front, ()), listener.entry_point_port)

    def service(plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        return at(known[plugin.unit], listener.public_port)

    def internal(plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        name = internal_service(plugin.unit)
        # The name first, for that is what settings should have.
        return at(dict.fromkeys((name, *known[name])), listener.public_port)

    listeners = _mail(
        here.plugins,
        View(
            public=public,
            service=service,
            internal=internal,
            proxied=lambda plugin, _listener: plugin.proxied(settings),
        ),
    )
    units = {plugin.name: plugin.unit for plugin in here.plugins}
    return Topology(
        listeners=listeners,
        roles={},
        clients={
            bound.name: chosen
            if not (chosen := here.topology.clients[bound.name]).host.startswith("127.")
            else Address(internal_service(units[bound.daemon]), bound.listener.public_port)
            for bound in listeners
        },
        trusted_proxies=settings.proxy.trusted_proxies,
    )
