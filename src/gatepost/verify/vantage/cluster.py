"""A cluster of pods, seen from a pod of its own: where everything is, and what differs.

Clients' ways lead through the proxy's Service, which the six addresses name. The daemons are in
other pods, so their logs and certificates are not on this disk, and this pod is not the proxy:
whatever it claims must be refused. A plug-in knows how such a cluster is asked: the module
``checks`` of a plug-in that does has the attribute ``CLUSTER``, an `Entrance`.
"""

from __future__ import annotations

import ipaddress
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gatepost import assembly, discovery
from gatepost.assembly import internal_service
from gatepost.errors import UsageError
from gatepost.model import Address, IPAddress, Topology
from gatepost.model.words import Words
from gatepost.settings import Settings
from gatepost.verify.check import CLUSTER, Proof, Vantage
from gatepost.verify.clients.names import resolved
from gatepost.verify.clients.wire import ProbeError

_RESOLVE_SECONDS = 2.0

Object = Mapping[str, Any]
"""An object of the cluster, as JSON has it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and how the cluster's API spells it."""

    name: str
    """As manifests have it, such as ``Pod``."""
    resource: str
    """As paths and roles have it, such as ``pods``."""
    group: str = ""
    version: str = "v1"

    @property
    def path(self) -> str:
        """Return the path of its group."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


class Unreadable(Exception):  # noqa: N818  it is a finding, and no fault of the program
    """The cluster's API does not answer the question; in words for a finding."""

    def __init__(self, observed: str, fix: Words) -> None:
        """Keep what was observed, and what to do."""
        super().__init__(observed)
        self.observed = observed
        self.fix = fix


class Cluster(Vantage):
    """A pod of its own in the cluster. Every method that asks the API raises `Unreadable`."""

    name = CLUSTER
    speaks_as_proxy = False
    namespace: str
    """The namespace of Gatepost."""
    proxy_namespace: str
    """The namespace of the proxy."""
    services: Mapping[str, str]
    """Daemon → the name of its Service and of its pods, ``mta`` or ``mda``."""

    @abstractmethod
    def list(self, kind: Kind, namespace: str = "") -> tuple[Object, ...]:
        """Return all objects of a kind in a namespace; ours when none is named."""

    @abstractmethod
    def pods(self, name: str, namespace: str = "") -> tuple[Object, ...]:
        """Return the pods of this name that have an address and are not ending."""

    @abstractmethod
    def published(self, namespace: str = "") -> tuple[Object, ...]:
        """Return all Services of a namespace; ours when none is named."""

    @abstractmethod
    def endpoint_slices(self) -> tuple[Object, ...]:
        """Return the objects that say which pods are behind our Services."""

    @abstractmethod
    def tail(
        self, pod: Object, container: str, *, lines: int, deadline: float
    ) -> Iterator[tuple[str, str]]:
        """Yield time (RFC 3339) and text of the last lines of a container's log."""

    def internal_service(self, service: str) -> str:
        """Return the name of the Service that publishes the internal listeners of a unit."""
        return internal_service(service)

    def service(self, name: str) -> Object | None:
        """Return a Service of ours by its name."""
        found = (one for one in self.published() if one["metadata"]["name"] == name)
        return next(found, None)


def of(proof: Proof) -> Cluster:
    """Return the cluster that a run is made in, for checks that are made there only."""
    if not isinstance(proof.vantage, Cluster):
        raise TypeError(proof.vantage)
    return proof.vantage


# --- objects ------------------------------------------------------------------------------------


def labels(thing: Object) -> Mapping[str, str]:
    """Return an object's labels."""
    found: Mapping[str, str] = thing.get("metadata", {}).get("labels") or {}
    return found


def ports(service: Object) -> tuple[Mapping[str, Any], ...]:
    """Return a Service's ports."""
    return tuple(service.get("spec", {}).get("ports") or ())


def addresses(pod: Object) -> tuple[IPAddress, ...]:
    """Return a pod's IP addresses."""
    status = pod.get("status", {})
    given = [row.get("ip", "") for row in status.get("podIPs") or ()] or [status.get("podIP", "")]
    found: list[IPAddress] = []
    for ip in given:
        with suppress(ValueError):
            found.append(ipaddress.ip_address(ip))
    return tuple(found)


def container(pod: Object, name: str) -> str:
    """Return the name of the container that a pod is there for."""
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    return name if name in names else names[0]


# --- where everything is ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The facts about a cluster that settings give."""

    proxy_namespace: str
    """The namespace of the proxy; empty: that of Gatepost."""
    services: Mapping[str, str]
    """As in `Cluster`."""


Entrance = Callable[[Mapping[str, str], Surroundings], Cluster]
"""Returns the cluster of a pod with this environment; `UsageError` when this is no pod."""


def entered(settings: Settings, environ: Mapping[str, str]) -> Cluster:
    """Return the cluster that this pod is in, of which nothing is read yet.

    Raises `UsageError` when this is no pod.
    """
    for module in discovery.modules("checks"):
        entrance: Entrance | None = getattr(module, "CLUSTER", None)
        if entrance:
            return entrance(environ, surroundings(settings))
    raise UsageError("verify --cluster: no plug-in here knows a cluster. Leave --cluster out.")


def surroundings(settings: Settings) -> Surroundings:
    """Return what settings say of the cluster: the proxy's Service names its namespace."""
    _, _, rest = proxy_host(settings).partition(".")
    return Surroundings(rest.partition(".")[0], assembly.units_of())


def proxy_host(settings: Settings) -> str:
    """Return the name of the proxy's Service: that of the six addresses which is none of ours.

    Empty when all of them lead to internal listeners.
    """
    own = {name for one in assembly.units() for name in (one, internal_service(one))}
    for variable in assembly.client_settings().values():
        address: Address | None = settings.value(variable)
        if address and address.host.partition(".")[0] not in own:
            return address.host
    return ""


def topology(settings: Settings) -> Topology:
    """Return the listener table as a pod of its own finds it.

    A name that does not resolve stays a name, so that the rows say so.
    """
    deadline = time.monotonic() + _RESOLVE_SECONDS
    return assembly.seen_in_cluster(
        settings, proxy_host(settings), lambda name: _hosts(name, deadline)
    )


def _hosts(name: str, deadline: float) -> list[str]:
    """Return a name's first address of each family, or the name itself."""
    try:
        found = resolved(Address(name, 25), deadline)
    except ProbeError:
        return [name]
    first = {":" in host: host for host in reversed(found)}
    return [first[family] for family in (False, True) if family in first]
