"""The server in a cluster, proven from a pod of its own: where everything is, and what differs.

Clients' ways lead through Traefik's Service, which the six addresses name. The daemons are in other
pods, so their logs and certificates are not on this disk, and this pod is not the proxy: whatever
it claims must be refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from gatepost import assembly
from gatepost.model import Address, BoundListener, Topology
from gatepost.model.words import Command, Logs, Step
from gatepost.settings import Settings
from gatepost.settings.concerns import DirectClients
from gatepost.verify.checks.internal_address import resolved
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.kubernetes import Api
from gatepost.verify.objects import Cluster

_RESOLVE_SECONDS = 2.0


def around(settings: Settings, api: Api) -> Cluster:
    """Return the cluster of these settings, of which nothing is read yet."""
    front = proxy_host(settings)
    _, _, rest = front.partition(".")
    return Cluster(
        api=api,
        namespace=api.namespace,
        proxy_namespace=rest.partition(".")[0] or api.namespace,
        services=assembly.units_of(),
        direct_clients=settings.proxy.mta_direct_clients is DirectClients.ACCEPT,
    )


def proxy_host(settings: Settings) -> str:
    """Return the name of Traefik's Service: that of the six addresses which is none of ours.

    Empty when all of them lead to internal listeners.
    """
    own = {name for one in assembly.units() for name in (one, assembly.internal_service(one))}
    for variable in assembly.client_settings().values():
        address: Address | None = settings.value(variable)
        if address and address.host.partition(".")[0] not in own:
            return address.host
    return ""


def topology(settings: Settings) -> Topology:
    """Return the listener table as a pod of its own finds it.

    A name that does not resolve stays a name, so that the rows say so.
    """
    table = assembly.topology(settings)
    deadline = time.monotonic() + _RESOLVE_SECONDS
    front = proxy_host(settings)
    services_of = assembly.units_of()
    services = services_of.values()
    names = {front, *services, *map(assembly.internal_service, services)} - {""}
    known = {name: _hosts(name, deadline) for name in names}

    def bound(row: BoundListener) -> BoundListener:
        listener, service = row.listener, services_of[row.daemon]
        internal = assembly.internal_service(service)
        return replace(
            row,
            public=_at(known.get(front, ()), listener.entry_point_port),
            service=_at(known[service], listener.public_port),
            # The name first, for that is what settings should have.
            internal=_at(dict.fromkeys([internal, *known[internal]]), listener.public_port),
        )

    clients = {
        name: address
        for name, address in table.clients.items()
        if not address.host.startswith("127.")
    }
    for row in table.listeners:
        internal = assembly.internal_service(services_of[row.daemon])
        clients.setdefault(row.name, Address(internal, row.listener.public_port))
    return replace(
        table, listeners=tuple(map(bound, table.listeners)), clients=clients, offers={}, roles={}
    )


def _hosts(name: str, deadline: float) -> list[str]:
    """Return a name's first address of each family, or the name itself."""
    try:
        found = resolved(Address(name, 25), deadline)
    except ProbeError:
        return [name]
    first = {":" in host: host for host in reversed(found)}
    return [first[family] for family in (False, True) if family in first]


def _at(hosts: Iterable[str], port: int) -> tuple[Address, ...]:
    return tuple(Address(host, port) for host in hosts)


# --- what to do ---------------------------------------------------------------------------------

_ALL = "-l app.kubernetes.io/part-of=gatepost"


def typed(step: Step, services: Mapping[str, str]) -> str:  # noqa: PLR0911  a table
    """Return the command that does in a cluster what ``gatepost`` does on one machine.

    `services` maps each daemon to the name of its Service.
    """
    match step:
        case Logs(service, _) if service in services:
            return f"kubectl logs {services[service]}-0"
        case Logs(_, 0):
            return f"kubectl logs {_ALL} --tail=100"
        case Logs():
            return f"kubectl logs {_ALL}"
        case Command("up"):
            return "kubectl apply -k OVERLAY"
        case Command("status"):
            return f"kubectl get pods {_ALL}"
        case Command("verify", arguments):
            return f"gatepost verify --cluster {arguments}".rstrip()
        case Command():
            return f"kubectl exec mda-0 -- {step}"
