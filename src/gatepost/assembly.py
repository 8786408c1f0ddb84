"""Plug-ins and settings → `Topology` → `Plan`. Pure: nothing is read, written or started here.

Plug-ins are found by looking into `gatepost.daemons` and `gatepost.proxies`; a new one needs no
line here.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module

from gatepost import daemons as daemon_folder
from gatepost import proxies as proxy_folder
from gatepost.contracts import Context, Daemon, Plugin, Proxy
from gatepost.errors import SettingsError, UsageError
from gatepost.gate import plan as gate
from gatepost.model import (
    Address,
    BoundListener,
    Endpoint,
    Handoff,
    Home,
    IPAddress,
    Listener,
    Offer,
    Plan,
    Process,
    Role,
    Site,
    SocketPath,
    Topology,
)
from gatepost.settings import Settings
from gatepost.settings.concerns import PublicPorts

CLIENT_SETTINGS = {
    "imap": "mda_imap_address",
    "imaps": "mda_imaps_address",
    "pop3": "mda_pop3_address",
    "pop3s": "mda_pop3s_address",
    "smtp": "mta_smtp_address",
    "submission": "mta_smtp_submission_address",
}
"""Listener → the setting that says where Gatepost's own clients connect for it."""

ROLE_SETTINGS = {
    Role.DELIVERY: "mda_lmtp_address",
    Role.SASL: "mda_sasl_address",
    Role.QUOTA_STATUS: "mda_quota_status_address",
}
"""Role → the setting that says where it is found."""


@cache
def daemons() -> tuple[Daemon, ...]:
    """Return every daemon plug-in, in the order of their names."""
    return tuple(
        import_module(f"{daemon_folder.__name__}.{module.name}").DAEMON
        for module in pkgutil.iter_modules(daemon_folder.__path__)
    )


@cache
def proxies() -> Mapping[str, Proxy]:
    """Return every reverse proxy plug-in by name."""
    found: dict[str, Proxy] = {
        module.name: import_module(f"{proxy_folder.__name__}.{module.name}").PROXY
        for module in pkgutil.iter_modules(proxy_folder.__path__)
    }
    return found


def proxy(settings: Settings) -> Proxy:
    """Return the reverse proxy that ``REVERSE_PROXY`` names.

    Raises `SettingsError` when there is no plug-in of that name.
    """
    name = settings.proxy.reverse_proxy
    if name not in proxies():
        raise SettingsError(
            f'REVERSE_PROXY: "{name}" is not a reverse proxy that Gatepost can start. '
            f"Set it to one of: {', '.join(sorted(proxies()))}."
        )
    return proxies()[name]


def plugins(settings: Settings, service: str | None = None) -> tuple[Plugin, ...]:
    """Return the plug-ins that these settings use.

    With `service` (``mta`` or ``mda``) only the daemons of that service, and no proxy: this is
    what one container runs.
    """
    return daemons_of(service) if service else (*daemons(), proxy(settings))


def daemons_of(service: str | None) -> tuple[Daemon, ...]:
    """Return the daemons of one service, or all."""
    return tuple(d for d in daemons() if service is None or d.service == service)


def services() -> tuple[str, ...]:
    """Return the names that ``gatepost run`` takes."""
    return tuple(sorted({daemon.service for daemon in daemons()}))


# --- topology -------------------------------------------------------------------------------


def topology(settings: Settings, *, ipv6: bool = True, service: str | None = None) -> Topology:
    """Bind the listener table to the addresses of these settings.

    With `service`, as in `plugins`, as one container has them: the other service is elsewhere, and
    its Kubernetes Service publishes the internal listeners. `ipv6` tells whether the kernel speaks
    IPv6; if not, the IPv6 wildcard is left out. Raises `SettingsError` when an internal address
    points at a port that demands a PROXY header.
    """
    front = proxy(settings)
    service_hosts = _hosts(settings.listen.service_bind_address, ipv6=ipv6)
    public_hosts = _hosts(settings.listen.public_bind_address, ipv6=ipv6)
    standard = settings.listen.public_ports is PublicPorts.STANDARD

    def public(listener: Listener) -> tuple[Address, ...]:
        port = listener.public_port if standard else listener.entry_point_port
        return tuple(Address(host, port) for host in public_hosts)

    here = plugins(settings, service)
    everywhere = tuple(
        _bind(
            listener,
            daemon,
            proxied=_upstream_proxy(settings, daemon),
            public=public(listener) if front.fronts and service is None else (),
            service_hosts=service_hosts,
        )
        for daemon in daemons()
        for listener in daemon.listeners
    )
    names = {plugin.name for plugin in here}
    bound = tuple(row for row in everywhere if row.daemon in names)
    offers = _offers(settings, bound, service_hosts, service)
    return Topology(
        listeners=bound,
        offers=offers,
        roles=_roles(settings, offers),
        clients=_clients(settings, everywhere, names),
        trusted_proxies=settings.proxy.trusted_proxies,
    )


def internal_service(service: str) -> str:
    """Return the name of the Kubernetes Service that publishes a service's internal listeners."""
    return f"{service}-internal"


def _offers(
    settings: Settings,
    listeners: tuple[BoundListener, ...],
    hosts: tuple[str, ...],
    service: str | None,
) -> dict[Role, tuple[Endpoint, ...]]:
    """Decide where the daemons that run here offer the roles that somebody needs.

    With all daemons on one machine these are UNIX sockets, open to the one user who asks: any other
    user could guess passwords at a TCP port without limit, and put forged mail into mailboxes.
    """
    home, users = Home(settings.storage.gatepost_home), _users_of_roles(settings)
    # Others on this machine share its loopback; those in containers of their own come from afar.
    tcp_hosts = hosts if service else (Address(hosts[0], 1).reachable.host,)
    found: dict[Role, tuple[Endpoint, ...]] = {
        role: (SocketPath(home.run / daemon.name / offer.socket, users[role]),)
        if offer.socket and service is None
        else tuple(Address(host, offer.port) for host in tcp_hosts)
        for daemon in daemons_of(service)
        for role, offer in daemon.offers.items()
        if role in users
    }
    for role, offer in _gate_offers(listeners).items():
        found[role] = tuple(Address(host, offer.port) for host in tcp_hosts)
    return found


def _users_of_roles(settings: Settings) -> dict[Role, str]:
    """Map each role that somebody needs to the system user who asks for it."""
    users = {role: user for daemon in daemons() for role, user in daemon.needs.items()}
    if settings.services.mda_http_api:
        users[Role.API] = "root"
    return users


def _roles(settings: Settings, offers: Mapping[Role, tuple[Endpoint, ...]]) -> dict[Role, Endpoint]:
    """Decide where each role is found: as it is set, here, or at the service that offers it.

    Raises `SettingsError` when a setting names a port that is not there, because the two daemons
    share a machine and a UNIX socket.
    """
    needed = _users_of_roles(settings)
    published = {
        role: Address(internal_service(daemon.service), offer.port)
        for daemon in daemons()
        for role, offer in daemon.offers.items()
        if role in needed
    }
    roles: dict[Role, Endpoint] = {**published}
    roles.update({role: endpoints[0].reachable for role, endpoints in offers.items()})
    problems: list[str] = []
    for role, variable in ROLE_SETTINGS.items():
        chosen: Address | None = getattr(settings.services, variable)
        if chosen and _is_the_socket(chosen, roles[role], published[role]):
            problems.append(
                f'{variable.upper()}: "{chosen}" is no open port: on one machine Postfix reaches '
                f"the mail store by the UNIX socket {roles[role]}. Unset {variable.upper()}."
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


def _hosts(addresses: Iterable[IPAddress], *, ipv6: bool) -> tuple[str, ...]:
    kept = [a for a in addresses if ipv6 or not (a.version == 6 and a.is_unspecified)]  # noqa: PLR2004
    return tuple(str(address) for address in kept)


def _bind(
    listener: Listener,
    daemon: Daemon,
    *,
    proxied: bool,
    public: tuple[Address, ...],
    service_hosts: tuple[str, ...],
) -> BoundListener:
    service = tuple(Address(host, listener.service_port) for host in service_hosts)
    return BoundListener(
        listener=listener,
        daemon=daemon.name,
        proxied=proxied,
        # Without a proxy of ours, clients of a plain port come straight to the daemon.
        public=public or (() if proxied else service),
        service=service,
        internal=tuple(Address(host, listener.internal_port) for host in service_hosts),
    )


def _gate_offers(listeners: tuple[BoundListener, ...]) -> Mapping[Role, Offer]:
    guarded = {daemon.name for daemon in daemons() if daemon.guarded}
    needed = any(bound.proxied and bound.daemon in guarded for bound in listeners)
    return {Role.METRICS: Offer(gate.METRICS_PORT)} if needed else {}


def _upstream_proxy(settings: Settings, daemon: Daemon) -> bool:
    switches = {
        "mta": settings.proxy.mta_upstream_proxy,
        "mda": settings.proxy.mda_upstream_proxy,
    }
    return switches[daemon.service]


def _clients(
    settings: Settings, listeners: tuple[BoundListener, ...], here: Collection[str]
) -> dict[str, Address]:
    """Decide where Gatepost's own clients connect; refuse a port they would hang on.

    `here` are the daemons that run in the same place.
    """
    services_of = {daemon.name: daemon.service for daemon in daemons()}
    clients: dict[str, Address] = {}
    problems: list[str] = []
    for bound in listeners:
        elsewhere = internal_service(services_of[bound.daemon])
        default = (
            bound.internal[0].reachable
            if bound.daemon in here
            else Address(elsewhere, bound.listener.public_port)
        )
        variable = CLIENT_SETTINGS.get(bound.name)
        chosen: Address | None = getattr(settings.clients, variable) if variable else None
        clients[bound.name] = chosen or default
        if variable and chosen and _demands_header(chosen, listeners):
            problems.append(
                f'{variable.upper()}: "{chosen}" is a port that demands a PROXY header, which '
                "Gatepost's own clients do not send: they would hang.\n"
                f"Point it at the internal listener, {variable.upper()}={default}, or at the "
                f"proxy, for example {variable.upper()}=traefik-internal:"
                f"{bound.listener.entry_point_port}; or unset it."
            )
    if problems:
        raise SettingsError(*problems)
    return clients


def _demands_header(address: Address, listeners: tuple[BoundListener, ...]) -> bool:
    """Tell whether an address is a PROXY-only port, here or as a Kubernetes Service."""
    services_of = {daemon.name: daemon.service for daemon in daemons()}
    return any(
        bound.proxied
        and (
            address.port == bound.listener.service_port
            or (
                address.host.partition(".")[0] == services_of[bound.daemon]
                and address.port == bound.listener.public_port
            )
        )
        for bound in listeners
    )


# --- plan -----------------------------------------------------------------------------------


def assemble(settings: Settings, site: Site, service: str | None = None) -> Plan:
    """Make the plan: what to write and what to start.

    `service` as in `plugins`. Raises `UsageError` when a need is not met by any plug-in.
    """
    context = Context(settings, topology(settings, ipv6=site.ipv6, service=service), site)
    used = plugins(settings, service)
    handoffs = tuple(h for daemon in daemons() if daemon in used for h in daemon.handoffs(context))
    return Plan(
        topology=context.topology,
        files=(
            *(file for plugin in used for file in plugin.files(context)),
            *(gate.files(context, handoffs) if handoffs else ()),
        ),
        processes=_in_order(context, used, handoffs),
        directories=tuple(d for plugin in used for d in plugin.directories(context)),
        users=tuple(
            {user.name: user for plugin in used for user in plugin.users(context)}.values()
        ),
        checks=tuple(check for plugin in used for check in plugin.checks(context)),
    )


def _in_order(
    context: Context, used: tuple[Plugin, ...], handoffs: tuple[Handoff, ...]
) -> tuple[Process, ...]:
    """Order processes so that each comes after those it needs, and say which those are."""
    started = {plugin.name: plugin.processes(context) for plugin in used}
    if handoffs:
        started[gate.NAME] = gate.processes(context, handoffs)
    before = _predecessors(used)
    processes: dict[str, Process] = {}
    for name, own in started.items():
        needed = tuple(p.name for other in before[name] for p in started.get(other, ()))
        for process in own:
            processes[process.name] = replace(process, after=(*needed, *process.after))
    order = TopologicalSorter({name: process.after for name, process in processes.items()})
    return tuple(processes[name] for name in order.static_order())


def _predecessors(used: tuple[Plugin, ...]) -> dict[str, tuple[str, ...]]:
    """Map each plug-in to those that must be ready before it: by roles; a proxy comes last.

    The gate comes after the daemons that it stands before.
    """
    names = {daemon.name for daemon in daemons()}
    by_name: dict[str, tuple[str, ...]] = {
        gate.NAME: tuple(daemon.name for daemon in daemons() if daemon.guarded and daemon in used)
    }
    for plugin in used:
        if plugin.name in names:
            daemon = next(d for d in daemons() if d.name == plugin.name)
            by_name[plugin.name] = tuple(_provider(role, daemon) for role in sorted(daemon.needs))
        else:
            by_name[plugin.name] = (*(p.name for p in used if p.name in names), gate.NAME)
    return {name: tuple(dict.fromkeys(others)) for name, others in by_name.items()}


def _provider(role: Role, daemon: Daemon) -> str:
    """Return the daemon that offers a role; say what is missing when none does."""
    offering: Callable[[Daemon], bool] = lambda other: role in other.offers  # noqa: E731
    for other in filter(offering, daemons()):
        return other.name
    raise UsageError(
        f'{daemon.name} needs a service of role "{role}" and no daemon offers it: '
        "add a plug-in below gatepost/daemons whose `offers` names the role."
    )
