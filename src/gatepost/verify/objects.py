"""The cluster around the server, as this pod may see it: each list is read once in a run."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gatepost.model import IPAddress
from gatepost.verify.kubernetes import (
    ENDPOINT_SLICE,
    POD,
    ROUTE,
    SERVICE,
    TRANSPORT,
    Api,
    Kind,
    Object,
    Unreadable,
)

NAME_LABEL = "app.kubernetes.io/name"
PROXY = "traefik"
"""What that label says of Traefik's pods."""
_SERVICE_LABEL = "kubernetes.io/service-name"
_ENTRY_POINT = re.compile(r"--entrypoints\.([^.=]+)\.(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known of a cluster. Whatever asks the API raises `Unreadable`."""

    api: Api
    namespace: str
    """Where Gatepost runs."""
    proxy_namespace: str
    """Where Traefik runs."""
    services: Mapping[str, str]
    """Daemon → the name of its Service and of its pods, ``mta`` or ``mda``."""
    direct_clients: bool = False
    """Whether a peer outside `TRUSTED_PROXIES` is served as itself (`MTA_DIRECT_CLIENTS`)."""
    _lists: dict[tuple[Kind, str], tuple[Object, ...] | Unreadable] = field(default_factory=dict)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def list(self, kind: Kind, namespace: str = "") -> tuple[Object, ...]:
        """Return all objects of a kind in a namespace; ours when none is named."""
        place = (kind, namespace or self.namespace)
        with self._reading:
            if place not in self._lists:
                try:
                    self._lists[place] = self.api.list(*place)
                except Unreadable as error:
                    self._lists[place] = error
        found = self._lists[place]
        if isinstance(found, Unreadable):
            raise Unreadable(found.observed, found.fix)
        return found

    # --- pods -------------------------------------------------------------------------------

    def pods(self, name: str) -> tuple[Object, ...]:
        """Return the pods of a service that have an address and are not ending."""
        return self._named(name, self.namespace)

    def proxies(self) -> tuple[Object, ...]:
        """Return Traefik's pods. Raises `Unreadable` when there are none as well."""
        found = self._named(PROXY, self.proxy_namespace)
        if not found:
            raise Unreadable(
                f"no pod with {NAME_LABEL}={PROXY} in namespace {self.proxy_namespace}",
                "Where Traefik runs in another namespace, have the addresses name it, such as "
                "MTA_SMTP_ADDRESS=traefik-internal.NAMESPACE:3325.",
            )
        return found

    def _named(self, name: str, namespace: str) -> tuple[Object, ...]:
        return tuple(
            pod
            for pod in self.list(POD, namespace)
            if labels(pod).get(NAME_LABEL) == name
            and addresses(pod)
            and not pod["metadata"].get("deletionTimestamp")
        )

    # --- the proxy --------------------------------------------------------------------------

    def entry_points(self) -> Mapping[str, Mapping[str, str]]:
        """Return Traefik's entry points by name, each with its options.

        They are read from its pods' arguments; where these name none (Traefik has a file for
        them), its Services' ports have the entry points' names.
        """
        found: dict[str, dict[str, str]] = {}
        for pod in self.proxies():
            for argument in _arguments(pod):
                if match := _ENTRY_POINT.fullmatch(argument):
                    option, _, value = match[2].partition("=")
                    found.setdefault(match[1], {})[option.lower()] = value
        if not found:
            for service in self.proxy_services():
                for port in ports(service):
                    found[str(port.get("name", ""))] = {}
        return found

    def proxy_services(self) -> tuple[Object, ...]:
        """Return the Services that lead to Traefik's pods."""
        pods = self.proxies()
        return tuple(
            service
            for service in self.list(SERVICE, self.proxy_namespace)
            if (selector := service.get("spec", {}).get("selector"))
            and any(selector.items() <= labels(pod).items() for pod in pods)
        )

    # --- ways to the server -----------------------------------------------------------------

    def service(self, name: str) -> Object | None:
        """Return a Service of ours by its name."""
        found = (one for one in self.list(SERVICE) if one["metadata"]["name"] == name)
        return next(found, None)

    def endpoints(self, name: str) -> tuple[int, int]:
        """Return how many endpoints of a Service are ready, and how many are not."""
        ready: set[str] = set()
        others: set[str] = set()
        for piece in self.list(ENDPOINT_SLICE):
            if labels(piece).get(_SERVICE_LABEL) != name:
                continue
            for endpoint in piece.get("endpoints") or ():
                target = endpoint.get("targetRef", {}).get("name") or endpoint["addresses"][0]
                # The condition that is not told is true (its documentation says so).
                is_ready = endpoint.get("conditions", {}).get("ready", True) is not False
                (ready if is_ready else others).add(str(target))
        return len(ready), len(others - ready)

    def routes(self) -> tuple[Object, ...]:
        """Return the IngressRouteTCP objects of our namespace."""
        return self.list(ROUTE)

    def transport(self, name: str) -> Object | None:
        """Return a ServersTransportTCP of our namespace, by the name that routes use."""
        local = name.removesuffix("@kubernetescrd").removeprefix(f"{self.namespace}-")
        names = {name, local}
        found = (one for one in self.list(TRANSPORT) if one["metadata"]["name"] in names)
        return next(found, None)


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


def _arguments(pod: Object) -> Iterator[str]:
    for one in pod["spec"]["containers"]:
        yield from (str(word) for word in (*one.get("command", ()), *one.get("args", ())))
