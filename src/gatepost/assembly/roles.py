"""Roles: their instances, the clients of each, and the addresses at which they are found.

Each plug-in in use that offers a role is an instance of it, named after the plug-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatepost import registry
from gatepost.assembly.listeners import hosts as written
from gatepost.assembly.listeners import nearest
from gatepost.assembly.units import internal_service
from gatepost.contracts import Plugin
from gatepost.errors import SettingsError, UsageError
from gatepost.model import Address, Endpoint, Home, Offer, Role, SocketPath
from gatepost.settings import Settings

Offers = Mapping[str, Mapping[Role, tuple[Endpoint, ...]]]
"""Plug-in → role → where it answers."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of one place."""

    offered: Offers
    """The roles that the plug-ins which run here offer."""
    instances: Mapping[Role, Mapping[str, Endpoint]]
    """Role → plug-in that offers it, here or elsewhere → where users find it."""
    chosen: Mapping[str, Mapping[Role, str]]
    """Plug-in that runs here → role that it needs → plug-in whose instance it uses."""

    @property
    def offers(self) -> dict[Role, tuple[Endpoint, ...]]:
        """The endpoints at which plug-ins here offer each role, all instances together."""
        found: dict[Role, tuple[Endpoint, ...]] = {}
        for roles in self.offered.values():
            for role, endpoints in roles.items():
                found[role] = (*found.get(role, ()), *endpoints)
        return found

    @property
    def single(self) -> dict[Role, Endpoint]:
        """The endpoint of each role that one instance offers."""
        return {
            role: endpoint
            for role, instances in self.instances.items()
            for endpoint in list(instances.values())[: len(instances) == 1]
        }


def find(
    settings: Settings,
    here: Iterable[Plugin],
    everywhere: Iterable[Plugin],
    *,
    ipv6: bool,
    unit: str | None,
) -> Roles:
    """Find the roles of a place: with all units, or with one.

    `here` are the plug-ins that run in it, `everywhere` those that run in any place. Raises
    `SettingsError` when a setting names a plug-in that does not offer the role, or a port that is
    not there, or when nothing says which of several instances is used; `UsageError` when no plug-in
    offers a role.
    """
    here = tuple(here)
    names = {plugin.name for plugin in here}
    all_used = {plugin.name: plugin for plugin in (*everywhere, *here)}
    known: dict[Role, dict[str, Offer]] = {}
    for name, plugin in sorted(all_used.items()):
        for role, offer in plugin.offers.items():
            if plugin.unit or name in names:
                known.setdefault(role, {})[name] = offer
    chosen = _choices(settings, here, known)
    users = _users(settings, all_used.values(), chosen, known)
    offered = _offers(settings, here, users, ipv6=ipv6, unit=unit)
    instances = _instances(settings, known, all_used, users, offered)
    return Roles(offered, instances, chosen)


# --- who uses which instance ----------------------------------------------------------------


def _choices(
    settings: Settings, here: Iterable[Plugin], known: Mapping[Role, Mapping[str, Offer]]
) -> dict[str, dict[Role, str]]:
    """Decide which instance each plug-in uses; report all problems of settings together."""
    chosen: dict[str, dict[Role, str]] = {}
    problems: list[str] = []
    for plugin in here:
        for role in plugin.needs:
            instances = known.get(role, {})
            named = _named(settings, plugin, role)
            if not instances:
                raise UsageError(_missing(plugin, role))
            if named in instances or (not named and len(instances) == 1):
                chosen.setdefault(plugin.name, {})[role] = named or next(iter(instances))
            else:
                problems.append(_unclear(plugin, role, named, instances))
    if problems:
        raise SettingsError(*problems)
    return chosen


def _named(settings: Settings, plugin: Plugin, role: Role) -> str:
    """Return the instance that a setting names for a plug-in; empty when none does."""
    variable = plugin.chooses.get(role)
    return str(settings.value(variable) or "") if variable else ""


def _missing(plugin: Plugin, role: Role) -> str:
    unused = [other.name for other in registry.plugins() if role in other.offers]
    if unused:
        return (
            f'{plugin.name} needs a service of role "{role}", and the plug-ins that offer it are '
            f"switched off: {', '.join(unused)}. Switch one of them on: gatepost config show"
        )
    return (
        f'{plugin.name} needs a service of role "{role}" and no plug-in offers it: '
        "add one below gatepost/plugins whose `offers` names the role."
    )


def _unclear(plugin: Plugin, role: Role, named: str, instances: Iterable[str]) -> str:
    """Say that a setting is wrong or missing, and which values it may have."""
    variable, offering = plugin.chooses.get(role), ", ".join(instances)
    if named:
        return (
            f'{variable}: "{named}" is no plug-in in use that offers the role "{role}".\n'
            f"Set {variable} to one of: {offering}"
        )
    if variable:
        return (
            f'{variable}: several plug-ins offer the role "{role}" to {plugin.name}.\n'
            f"Set {variable} to one of: {offering}"
        )
    return (
        f'{plugin.name}: several plug-ins offer the role "{role}": {offering}. No setting says '
        f"which of them {plugin.name} uses: switch off all but one."
    )


def _users(
    settings: Settings,
    everywhere: Iterable[Plugin],
    chosen: Mapping[str, Mapping[Role, str]],
    known: Mapping[Role, Mapping[str, Offer]],
) -> dict[tuple[Role, str], set[str]]:
    """Map each instance that somebody asks to the system users who ask.

    The settings of a client that runs elsewhere may be unknown here: it may ask any instance.
    """
    users: dict[tuple[Role, str], set[str]] = {}
    for plugin in everywhere:
        for role, user in plugin.needs.items():
            one = chosen.get(plugin.name, {}).get(role) or _named(settings, plugin, role)
            for instance in [one] if one else known.get(role, {}):
                users.setdefault((role, instance), set()).add(user)
        for role, user in plugin.opens(settings).items():
            users.setdefault((role, plugin.name), set()).add(user)
    return users


# --- where they are -------------------------------------------------------------------------


def _offers(
    settings: Settings,
    here: Iterable[Plugin],
    users: Mapping[tuple[Role, str], set[str]],
    *,
    ipv6: bool,
    unit: str | None,
) -> dict[str, dict[Role, tuple[Endpoint, ...]]]:
    """Decide where the plug-ins that run here offer the roles that somebody asks.

    With all units on one machine these are UNIX sockets, open to the one user who asks: any other
    user could guess passwords at a TCP port without limit, and put forged mail into mailboxes.
    """
    home = Home(settings.storage.gatepost_home)
    hosts = written(settings.listen.service_bind_address, ipv6=ipv6)
    tcp_hosts = hosts if unit else nearest(hosts)
    found: dict[str, dict[Role, tuple[Endpoint, ...]]] = {}
    for plugin in here:
        for role, offer in plugin.offers.items():
            asking = users.get((role, plugin.name))
            if not asking:
                continue
            if offer.socket and unit is None:
                path = home.run / plugin.name / offer.socket
                endpoints: tuple[Endpoint, ...] = (SocketPath(path, _only(asking, role, plugin)),)
            else:
                endpoints = tuple(Address(host, offer.port) for host in tcp_hosts)
            found.setdefault(plugin.name, {})[role] = endpoints
    return found


def _only(asking: set[str], role: Role, plugin: Plugin) -> str:
    """Return the one user who may open a socket; raise `UsageError` when there are several."""
    if len(asking) > 1:
        raise UsageError(
            f'{plugin.name} offers the role "{role}" at a UNIX socket, which one user can open, '
            f"and several users ask there: {', '.join(sorted(asking))}. Remove `socket` from its "
            "`Offer`, or have each of them use an instance of its own."
        )
    (user,) = asking
    return user


def _instances(
    settings: Settings,
    known: Mapping[Role, Mapping[str, Offer]],
    plugins: Mapping[str, Plugin],
    users: Mapping[tuple[Role, str], set[str]],
    offered: Offers,
) -> dict[Role, dict[str, Endpoint]]:
    """Decide where each instance is found: as it is set, here, or at the unit that offers it."""
    found: dict[Role, dict[str, Endpoint]] = {}
    problems: list[str] = []
    for role, offers in known.items():
        for name, offer in offers.items():
            if (role, name) not in users:
                continue
            published = Address(internal_service(plugins[name].unit), offer.port)
            here = offered.get(name, {}).get(role)
            endpoint: Endpoint = here[0].reachable if here else published
            chosen: Address | None = settings.value(offer.setting) if offer.setting else None
            if chosen and _is_the_socket(chosen, endpoint, published):
                problems.append(
                    f'{offer.setting}: "{chosen}" is no open port: on one machine the role '
                    f'"{role}" is found at the UNIX socket {endpoint}. Unset {offer.setting}.'
                )
            found.setdefault(role, {})[name] = chosen or endpoint
    if problems:
        raise SettingsError(*problems)
    return found


def _is_the_socket(chosen: Address, found: Endpoint, published: Address) -> bool:
    """Tell whether an address means a role on this machine, which has a UNIX socket instead."""
    here = chosen.host == "localhost" or chosen.host.startswith("127.") or chosen.host == "::1"
    return isinstance(found, SocketPath) and here and chosen.port == published.port
