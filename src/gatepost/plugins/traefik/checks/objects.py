"""Traefik in a cluster, as a pod may see it: its pods, Services, entry points and routes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatepost.verify.check import Proof
from gatepost.verify.vantage.cluster import Cluster, Kind, Object, Unreadable, labels, of, ports

ROUTE = Kind("IngressRouteTCP", "ingressroutetcps", "traefik.io", "v1alpha1")
TRANSPORT = Kind("ServersTransportTCP", "serverstransporttcps", "traefik.io", "v1alpha1")
LABEL = "app.kubernetes.io/name=traefik"
"""The label of Traefik's pods."""
PROXY = "traefik"
"""Their name."""
_ENTRY_POINT = re.compile(r"--entrypoints\.([^.=]+)\.(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Traefik:
    """Traefik in a cluster. Every method that asks the API raises `Unreadable`."""

    cluster: Cluster

    @property
    def namespace(self) -> str:
        """Return the namespace that it runs in."""
        return self.cluster.proxy_namespace

    def pods(self) -> tuple[Object, ...]:
        """Return Traefik's pods. Raises `Unreadable` when there are none as well."""
        found = self.cluster.pods(PROXY, self.namespace)
        if not found:
            raise Unreadable(
                f"no pod with {LABEL} in namespace {self.namespace}",
                "Where Traefik runs in another namespace, have the addresses name it, such as "
                "MTA_SMTP_ADDRESS=traefik-internal.NAMESPACE:3325.",
            )
        return found

    def entry_points(self) -> Mapping[str, Mapping[str, str]]:
        """Return Traefik's entry points by name, each with its options.

        They are read from its pods' arguments; where these name none (Traefik has a file for
        them), its Services' ports have the entry points' names.
        """
        found: dict[str, dict[str, str]] = {}
        for pod in self.pods():
            for argument in _arguments(pod):
                if match := _ENTRY_POINT.fullmatch(argument):
                    option, _, value = match[2].partition("=")
                    found.setdefault(match[1], {})[option.lower()] = value
        if not found:
            for service in self.services():
                for port in ports(service):
                    found[str(port.get("name", ""))] = {}
        return found

    def services(self) -> tuple[Object, ...]:
        """Return the Services that lead to Traefik's pods."""
        pods = self.pods()
        return tuple(
            service
            for service in self.cluster.published(self.namespace)
            if (selector := service.get("spec", {}).get("selector"))
            and any(selector.items() <= labels(pod).items() for pod in pods)
        )

    def routes(self) -> tuple[Object, ...]:
        """Return the IngressRouteTCP objects of our namespace."""
        return self.cluster.list(ROUTE)

    def transports(self) -> tuple[Object, ...]:
        """Return the ServersTransportTCP objects of our namespace."""
        return self.cluster.list(TRANSPORT)

    def transport(self, name: str) -> Object | None:
        """Return a ServersTransportTCP of our namespace, by the name that routes use."""
        local = name.removesuffix("@kubernetescrd").removeprefix(f"{self.cluster.namespace}-")
        names = {name, local}
        found = (one for one in self.transports() if one["metadata"]["name"] in names)
        return next(found, None)


def traefik(proof: Proof) -> Traefik:
    """Return the proxy of the cluster that a run is made in."""
    return Traefik(of(proof))


def _arguments(pod: Object) -> Iterator[str]:
    for one in pod["spec"]["containers"]:
        yield from (str(word) for word in (*one.get("command", ()), *one.get("args", ())))
