"""Plug-ins and settings → `Topology` → `Plan`. Pure: nothing is read, written or started here.

A place has all units, as one machine does, or a single one, as a container does. A new plug-in
needs no line here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter

from gatepost.contracts import Context, Plugin
from gatepost.errors import SettingsError, UsageError
from gatepost.model import (
    SOCKET_PATH_BYTES,
    Address,
    BoundListener,
    Endpoint,
    Home,
    IPAddress,
    Listener,
    Plan,
    Process,
    Role,
    Site,
    SocketPath,
    Topology,
)
from gatepost.registry import plugins
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts
from gatepost.settings.loading import NO_PLUGIN


def units() -> tuple[str, ...]:
    """Return the names that ``gatepost run`` takes."""
    return tuple(sorted({plugin.unit for plugin in plugins() if plugin.unit}))


def units_of() -> Mapping[str, str]:
    """Map each plug-in that has a unit of its own to it."""
    return {plugin.name: plugin.unit for plugin in of_unit(None)}


def of_unit(unit: str | None) -> tuple[Plugin, ...]:
    """Return the plug-ins of one unit, or of all units."""
    return tuple(p for p in plugins() if p.unit and unit in {None, p.unit})


def used(settings: Settings, unit: str | None = None) -> tuple[Plugin, ...]:
    """Return the plug-ins that these settings use in a place with all units, or with one.

    Raises `SettingsError` when a setting chooses a plug-in that is not there.
    """
    candidates = _candidates(settings, unit)
    listeners = _bound(settings, candidates)
    return tuple(plugin for plugin in candidates if plugin.used(settings, listeners))


def _candidates(settings: Settings, unit: str | None) -> tuple[Plugin, ...]:
    """Return the plug-ins of a place that the settings do not rule out by name."""
    chosen = {
        variable: _choice(settings, variable)
        for variable in sorted({plugin.chosen_by for plugin in plugins()} - {""})
    }
    return tuple(
        plugin
        for plugin in plugins()
        if (unit is None or not plugin.fronts)
        and (not plugin.unit or unit in {None, plugin.unit})
        and (not plugin.chosen_by or chosen[plugin.chosen_by] == plugin.name)
    )


def _choice(settings: Settings, variable: str) -> str:
    """Return the name of the plug-in that a setting chooses, or `NO_PLUGIN`."""
    value = str(settings.value(variable))
    known = {plugin.name for plugin in plugins() if plugin.chosen_by == variable} | {NO_PLUGIN}
    if value not in known:
        raise SettingsError(
            f'{variable}: "{value}" is nothing that Gatepost can start. '
            f"Set it to one of: {', '.join(sorted(known))}."
        )
    return value


# --- topology -------------------------------------------------------------------------------


def topology(settings: Settings, *, ipv6: bool = True, unit: str | None = None) -> Topology:
    """Bind the listener table to the addresses of these settings.

    With a `unit`, as its container has them: the others are elsewhere, and their Kubernetes
    Services publish the internal listeners. `ipv6` tells whether the kernel speaks IPv6; if not,
    the IPv6 wildcard is left out. Raises `SettingsError` when an internal address points at a port
    that demands a PROXY header.
    """
    here = used(settings, unit)
    everywhere = _bound(settings, plugins(), ipv6=ipv6, fronted=_fronted(here))
    names = {plugin.name for plugin in here}
    offers = _offers(settings, here, ipv6=ipv6, unit=unit)
    return Topology(
        listeners=tuple(bound for bound in everywhere if bound.daemon in names),
        offers=offers,
        roles=_roles(settings, offers),
        clients=_clients(settings, everywhere, names),
        trusted_proxies=settings.proxy.trusted_proxies,
    )


def internal_service(unit: str) -> str:
    """Return the name of the Kubernetes Service that publishes a unit's internal listeners."""
    return f"{unit}-internal"


def client_settings() -> Mapping[str, str]:
    """Map each listener to the setting that says where Gatepost's own clients connect for it."""
    return {
        listener.name: listener.client_setting
        for plugin in plugins()
        for listener in plugin.listeners
        if listener.client_setting
    }


def _fronted(here: Iterable[Plugin]) -> bool:
    return any(plugin.fronts for plugin in here)


def _bound(
    settings: Settings, chosen: Iterable[Plugin], *, ipv6: bool = True, fronted: bool = False
) -> tuple[BoundListener, ...]:
    """Bind the listeners of some plug-ins; `fronted` when a proxy of ours listens before them."""
    listen = settings.listen
    service_hosts = _hosts(listen.service_bind_address, ipv6=ipv6)
    public_hosts = _hosts(listen.public_bind_address, ipv6=ipv6) if fronted else ()
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


def _hosts(addresses: Iterable[IPAddress], *, ipv6: bool) -> tuple[str, ...]:
    kept = [a for a in addresses if ipv6 or not (a.version == 6 and a.is_unspecified)]  # noqa: PLR2004
    return tuple(str(address) for address in kept)


# --- roles ----------------------------------------------------------------------------------


def _offers(
    settings: Settings, here: Iterable[Plugin], *, ipv6: bool, unit: str | None
) -> dict[Role, tuple[Endpoint, ...]]:
    """Decide where the plug-ins that run here offer the roles that somebody needs.

    With all units on one machine these are UNIX sockets, open to the one user who asks: any other
    user could guess passwords at a TCP port without limit, and put forged mail into mailboxes.
    """
    home, users = Home(settings.storage.gatepost_home), _users_of_roles(settings)
    hosts = _hosts(settings.listen.service_bind_address, ipv6=ipv6)
    # Others on this machine share its loopback; those in containers of their own come from afar.
    tcp_hosts = hosts if unit else (Address(hosts[0], 1).reachable.host,)
    return {
        role: (SocketPath(home.run / plugin.name / offer.socket, users[role]),)
        if offer.socket and unit is None
        else tuple(Address(host, offer.port) for host in tcp_hosts)
        for plugin in here
        for role, offer in plugin.offers.items()
        if role in users
    }


def _users_of_roles(settings: Settings) -> dict[Role, str]:
    """Map each role that somebody needs to the system user who asks for it."""
    users: dict[Role, str] = {}
    for plugin in plugins():
        users.update(plugin.needs)
        users.update(plugin.opens(settings))
    return users


def _roles(settings: Settings, offers: Mapping[Role, tuple[Endpoint, ...]]) -> dict[Role, Endpoint]:
    """Decide where each role is found: as it is set, here, or at the unit that offers it.

    Raises `SettingsError` when a setting names a port that is not there, because the two daemons
    share a machine and a UNIX socket.
    """
    needed = _users_of_roles(settings)
    published = {
        role: (Address(internal_service(plugin.unit), offer.port), offer.setting)
        for plugin in of_unit(None)
        for role, offer in plugin.offers.items()
        if role in needed
    }
    roles: dict[Role, Endpoint] = {role: address for role, (address, _) in published.items()}
    roles.update({role: endpoints[0].reachable for role, endpoints in offers.items()})
    problems: list[str] = []
    for role, (elsewhere, variable) in published.items():
        chosen: Address | None = settings.value(variable) if variable else None
        if chosen and _is_the_socket(chosen, roles[role], elsewhere):
            problems.append(
                f'{variable}: "{chosen}" is no open port: on one machine Postfix reaches '
                f"the mail store by the UNIX socket {roles[role]}. Unset {variable}."
            )
        elif chosen:
            roles[role] = chosen
    if problems:
        raise SettingsError(*problems)
    return roles


def _is_the_socket(chosen: Address, found: Endpoint, published: Address) -> bool:
    """Tell whether an address means a role on this machine, which has a UNIX socket instead."""
    here = chosen.host == "localhost" or chosen.host.startswith("127.") or chosen.host == "::1"
    return isinstance(found, SocketPath) and here and chosen.port == published.port


# --- where our own clients connect -----------------------------------------------------------


def _clients(
    settings: Settings, listeners: tuple[BoundListener, ...], here: Collection[str]
) -> dict[str, Address]:
    """Decide where Gatepost's own clients connect; refuse a port they would hang on.

    `here` are the plug-ins that run in the same place.
    """
    clients: dict[str, Address] = {}
    problems: list[str] = []
    for bound in listeners:
        elsewhere = internal_service(units_of()[bound.daemon])
        default = (
            bound.internal[0].reachable
            if bound.daemon in here
            else Address(elsewhere, bound.listener.public_port)
        )
        variable = bound.listener.client_setting
        chosen: Address | None = settings.value(variable) if variable else None
        clients[bound.name] = chosen or default
        if chosen and _demands_header(chosen, listeners):
            problems.append(
                f'{variable}: "{chosen}" is a port that demands a PROXY header, which '
                "Gatepost's own clients do not send: they would hang.\n"
                f"Point it at the internal listener, {variable}={default}, or at the "
                f"proxy, for example {variable}=traefik-internal:"
                f"{bound.listener.entry_point_port}; or unset it."
            )
    if problems:
        raise SettingsError(*problems)
    return clients


def _demands_header(address: Address, listeners: tuple[BoundListener, ...]) -> bool:
    """Tell whether an address is a PROXY-only port, here or as a Kubernetes Service."""
    units = units_of()
    return any(
        bound.proxied
        and (
            address.port == bound.listener.service_port
            or (
                address.host.partition(".")[0] == units[bound.daemon]
                and address.port == bound.listener.public_port
            )
        )
        for bound in listeners
    )


# --- plan -----------------------------------------------------------------------------------


def assemble(settings: Settings, site: Site, unit: str | None = None) -> Plan:
    """Make the plan of a place with all units, or with one: what to write and what to start.

    Raises `UsageError` when a need is not met by any plug-in.
    """
    here = used(settings, unit)
    _check_sockets(here, site.home)
    bare = Context(settings, topology(settings, ipv6=site.ipv6, unit=unit), site)
    given = {plugin.name: plugin.contributes(bare) for plugin in here}
    context = replace(bare, contributions=tuple(one for each in given.values() for one in each))
    return Plan(
        topology=context.topology,
        files=tuple(file for plugin in here for file in plugin.files(context)),
        processes=_in_order(context, here, given),
        directories=tuple(d for plugin in here for d in plugin.directories(context)),
        users=tuple({user.name: user for plugin in here for user in plugin.users}.values()),
        checks=tuple(check for plugin in here for check in plugin.checks(context)),
        jobs=tuple(job for plugin in here for job in plugin.jobs(context)),
    )


def _check_sockets(here: Iterable[Plugin], home: Home) -> None:
    """Refuse a home too deep for sockets below it: programs would end without a word, or later."""
    paths = [os.fsencode(socket) for plugin in here for socket in plugin.sockets(home)]
    longest = max(map(len, paths), default=0)
    if longest > SOCKET_PATH_BYTES:
        most = SOCKET_PATH_BYTES - longest + len(os.fsencode(home.root))
        raise SettingsError(
            f'GATEPOST_HOME: "{home.root}" is too long: UNIX sockets below it have at most '
            f"{SOCKET_PATH_BYTES} bytes for their path, which leaves {most} for GATEPOST_HOME.\n"
            "Choose a shorter one, for example GATEPOST_HOME=/var/lib/gatepost"
        )


def _in_order(
    context: Context, here: tuple[Plugin, ...], given: Mapping[str, tuple[object, ...]]
) -> tuple[Process, ...]:
    """Order processes so that each comes after those it needs, and say which those are."""
    started = {plugin.name: plugin.processes(context) for plugin in here}
    processes: dict[str, Process] = {}
    for plugin in here:
        before = _predecessors(plugin, here, given)
        needed = tuple(process.name for name in before for process in started.get(name, ()))
        for process in started[plugin.name]:
            processes[process.name] = replace(process, after=(*needed, *process.after))
    order = TopologicalSorter({name: process.after for name, process in processes.items()})
    return tuple(processes[name] for name in order.static_order())


def _predecessors(
    plugin: Plugin, here: tuple[Plugin, ...], given: Mapping[str, tuple[object, ...]]
) -> tuple[str, ...]:
    """Return the plug-ins that must be ready before one: by roles and contributions.

    A proxy comes last.
    """
    if plugin.fronts:
        return tuple(other.name for other in here if not other.fronts)
    by_role = (_provider(role, plugin) for role in sorted(plugin.needs))
    by_gift = (
        name
        for name, gifts in given.items()
        if name != plugin.name and any(isinstance(gift, plugin.consumes) for gift in gifts)
    )
    return tuple(dict.fromkeys((*by_role, *by_gift)))


def _provider(role: Role, plugin: Plugin) -> str:
    """Return the plug-in that offers a role; say what is missing when none does."""
    for other in plugins():
        if role in other.offers:
            return other.name
    raise UsageError(
        f'{plugin.name} needs a service of role "{role}" and no plug-in offers it: '
        "add one below gatepost/plugins whose `offers` names the role."
    )
