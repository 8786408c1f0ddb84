"""Topology and `Site` → `Plan`: what to write, what to start, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter

from gatepost.assembly.listeners import https
from gatepost.assembly.routes import routed
from gatepost.contracts import Context, Plugin
from gatepost.errors import SettingsError
from gatepost.model import SOCKET_PATH_BYTES, Home, HttpRoute, Plan, Process, Site, Topology
from gatepost.settings import Settings


def planned(settings: Settings, here: tuple[Plugin, ...], topology: Topology, site: Site) -> Plan:
    """Make the plan of the plug-ins of a place.

    Raises `SettingsError` when the home is too deep for sockets below it, and `UsageError` for HTTP
    routes that lead nowhere or clash.
    """
    _check_sockets(here, site.home)
    bare = Context(settings, topology, site)
    given = {plugin.name: plugin.contributes(bare) for plugin in here}
    context = replace(bare, contributions=tuple(one for each in given.values() for one in each))
    serves = any(plugin.fronts and HttpRoute in plugin.consumes for plugin in here)
    at = https(settings, ipv6=site.ipv6) if serves else ()
    context = replace(context, topology=routed(topology, context.given(HttpRoute), at))
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
        before = _predecessors(context, plugin, here, given)
        needed = tuple(process.name for name in before for process in started.get(name, ()))
        for process in started[plugin.name]:
            processes[process.name] = replace(process, after=(*needed, *process.after))
    order = TopologicalSorter({name: process.after for name, process in processes.items()})
    return tuple(processes[name] for name in order.static_order())


def _predecessors(
    context: Context,
    plugin: Plugin,
    here: tuple[Plugin, ...],
    given: Mapping[str, tuple[object, ...]],
) -> tuple[str, ...]:
    """Return the plug-ins that must be ready before one: by roles and contributions.

    A proxy comes last.
    """
    if plugin.fronts:
        return tuple(other.name for other in here if not other.fronts)
    chosen = context.topology.chosen.get(plugin.name, {})
    by_role = (chosen[role] for role in sorted(plugin.needs))
    by_gift = (
        name
        for name, gifts in given.items()
        if name != plugin.name and any(isinstance(gift, plugin.consumes) for gift in gifts)
    )
    return tuple(dict.fromkeys((*by_role, *by_gift)))
