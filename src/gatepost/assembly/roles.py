"""Where roles are offered, and where their users find them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatepost import registry
from gatepost.assembly.listeners import hosts as written
from gatepost.assembly.units import internal_service, of_unit
from gatepost.contracts import Plugin
from gatepost.errors import SettingsError
from gatepost.model import Address, Endpoint, Home, Role, SocketPath
from gatepost.settings import Settings


def offers(
    settings: Settings, here: Iterable[Plugin], *, ipv6: bool, unit: str | None
) -> dict[Role, tuple[Endpoint, ...]]:
    """Decide where the plug-ins that run here offer the roles that somebody needs.

    With all units on one machine these are UNIX sockets, open to the one user who asks: any other
    user could guess passwords at a TCP port without limit, and put forged mail into mailboxes.
    """
    home, users = Home(settings.storage.gatepost_home), _users_of_roles(settings)
    hosts = written(settings.listen.service_bind_address, ipv6=ipv6)
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
    for plugin in registry.plugins():
        users.update(plugin.needs)
        users.update(plugin.opens(settings))
    return users


def roles(settings: Settings, offered: Mapping[Role, tuple[Endpoint, ...]]) -> dict[Role, Endpoint]:
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
    found: dict[Role, Endpoint] = {role: address for role, (address, _) in published.items()}
    found.update({role: endpoints[0].reachable for role, endpoints in offered.items()})
    problems: list[str] = []
    for role, (elsewhere, variable) in published.items():
        chosen: Address | None = settings.value(variable) if variable else None
        if chosen and _is_the_socket(chosen, found[role], elsewhere):
            problems.append(
                f'{variable}: "{chosen}" is no open port: on one machine the '
                f'role "{role}" is found at the UNIX socket {found[role]}. Unset {variable}.'
            )
        elif chosen:
            found[role] = chosen
    if problems:
        raise SettingsError(*problems)
    return found


def _is_the_socket(chosen: Address, found: Endpoint, published: Address) -> bool:
    """Tell whether an address means a role on this machine, which has a UNIX socket instead."""
    here = chosen.host == "localhost" or chosen.host.startswith("127.") or chosen.host == "::1"
    return isinstance(found, SocketPath) and here and chosen.port == published.port
