"""HTTP routes: which listeners clients reach through a proxy of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gatepost.errors import UsageError
from gatepost.model import Address, HttpRoute, Protocol, Topology


def routed(topology: Topology, routes: Iterable[HttpRoute], https: tuple[Address, ...]) -> Topology:
    """Give the HTTP listeners that a route leads to the public addresses of the proxy.

    `https` is where the proxy takes requests; empty when no proxy of ours does. Raises `UsageError`
    when a route leads to no HTTP listener, or two routes are for the same requests.
    """
    routes = tuple(routes)
    known = {b.name for b in topology.listeners if b.listener.protocol is Protocol.HTTP}
    for route in routes:
        if route.listener not in known:
            raise UsageError(
                f'A route of "{route.path}" leads to "{route.listener}", which is no HTTP listener '
                f"of a plug-in in use. Those are: {', '.join(sorted(known)) or 'none'}."
            )
    for (host, path), count in Counter((r.host, r.path) for r in routes).items():
        if count > 1:
            leads = ", ".join(r.listener for r in routes if (r.host, r.path) == (host, path))
            raise UsageError(
                f'Several routes are for "{host}{path}"; they lead to: {leads}. '
                "Give each a path or a host of its own."
            )
    reached = {route.listener for route in routes}
    return replace(
        topology,
        listeners=tuple(
            replace(bound, public=https) if bound.name in reached else bound
            for bound in topology.listeners
        ),
    )
