"""Listeners of plug-ins → the addresses that they have, as seen from some place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gatepost.contracts import Plugin
from gatepost.errors import SettingsError
from gatepost.model import (
    HTTPS_ENTRY_POINT_PORT,
    HTTPS_PORT,
    Address,
    BoundListener,
    IPAddress,
    Listener,
)
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts

Side = Callable[[Plugin, Listener], tuple[Address, ...]]
"""Returns the addresses of one side of a listener: where clients, a proxy, or our own clients
connect."""


def _nowhere(_plugin: Plugin, _listener: Listener) -> tuple[Address, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The addresses of listeners, as seen from one place. A hidden side has no address."""

    public: Side
    service: Side = _nowhere
    internal: Side = _nowhere
    proxied: Callable[[Plugin, Listener], bool] = lambda _plugin, _listener: False
    """Tell whether the service port of a listener demands a PROXY header."""


def table(plugins: Iterable[Plugin], view: View) -> tuple[BoundListener, ...]:
    """Bind the listeners of some plug-ins. Every topology is made from such a table."""
    return tuple(
        BoundListener(
            listener=listener,
            daemon=plugin.name,
            proxied=view.proxied(plugin, listener),
            public=view.public(plugin, listener),
            service=view.service(plugin, listener),
            internal=view.internal(plugin, listener),
        )
        for plugin in plugins
        for listener in plugin.listeners
    )


def from_here(
    settings: Settings, *, ipv6: bool = True, fronted: bool = False, alone: bool = False
) -> View:
    """Return the view of the machine or container itself.

    `fronted` is true if a proxy of ours listens before the daemons, `alone` if one unit runs here
    without the others.
    """
    listen = settings.listen
    own = hosts(listen.service_bind_address, ipv6=ipv6)
    fronts = hosts(listen.public_bind_address, ipv6=ipv6) if fronted else ()

    def service(_plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        is_mail = listener.protocol.carries_mail
        return at(own if is_mail or alone else nearest(own), listener.service_port)

    def public(plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        if not listener.protocol.carries_mail:
            return ()  # until a route leads to it
        if fronts:
            return at(fronts, public_port(listener, listen.public_ports))
        # Without a proxy of ours, clients of a plain port come straight to the daemon.
        return () if plugin.proxied(settings) else service(plugin, listener)

    def internal(_plugin: Plugin, listener: Listener) -> tuple[Address, ...]:
        return at(own if listener.internal_port else (), listener.internal_port)

    return View(
        public=public,
        service=service,
        internal=internal,
        proxied=lambda plugin, listener: _expects_header(settings, plugin, listener),
    )


def https(settings: Settings, *, ipv6: bool) -> tuple[Address, ...]:
    """Return where a proxy of ours takes HTTPS, for all routes."""
    listen = settings.listen
    standard = listen.public_ports is PublicPorts.STANDARD
    port = HTTPS_PORT if standard else HTTPS_ENTRY_POINT_PORT
    return at(hosts(listen.public_bind_address, ipv6=ipv6), port)


def nearest(own: Iterable[str]) -> tuple[str, ...]:
    """Return one host for programs on this machine; they share its loopback."""
    first = next(iter(own))
    return (Address(first, 1).reachable.host,)


def _expects_header(settings: Settings, plugin: Plugin, listener: Listener) -> bool:
    """Tell whether a service port demands a PROXY header; HTTP has a header of its own."""
    return listener.protocol.carries_mail and plugin.proxied(settings)


def from_outside(there: Iterable[str], ports: PublicPorts) -> View:
    """Return the view of a client elsewhere, who sees the public ports of some hosts."""
    there = tuple(there)
    return View(public=lambda _plugin, listener: at(there, public_port(listener, ports)))


def public_port(listener: Listener, ports: PublicPorts) -> int:
    """Return the port on which clients find a listener."""
    standard = ports is PublicPorts.STANDARD
    return listener.public_port if standard else listener.entry_point_port


def at(there: Iterable[str], port: int) -> tuple[Address, ...]:
    """Return the addresses of some hosts at one port."""
    return tuple(Address(host, port) for host in there)


def hosts(addresses: Iterable[IPAddress], *, ipv6: bool) -> tuple[str, ...]:
    """Write addresses as hosts; a kernel without IPv6 has no IPv6 wildcard.

    Raises `SettingsError` when nothing else is left.
    """
    kept = [a for a in addresses if ipv6 or not (a.version == 6 and a.is_unspecified)]  # noqa: PLR2004
    if not kept:
        raise SettingsError(
            'PUBLIC_BIND_ADDRESS or SERVICE_BIND_ADDRESS: "::" needs IPv6, which this kernel does '
            "not speak.\nSet it to 0.0.0.0, or to all"
        )
    return tuple(str(address) for address in kept)
