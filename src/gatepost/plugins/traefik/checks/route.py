"""Traefik has a route for every listener: right entry point, right port, with a header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gatepost.model import Status
from gatepost.plugins.traefik.checks.objects import Traefik, traefik
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.targets import Target
from gatepost.verify.vantage.cluster import Object, ports

_VERSION = 2


@dataclass(frozen=True, slots=True)
class Way:
    """One Service that an IngressRouteTCP leads to."""

    route: Object
    service: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the IngressRouteTCP."""
        return str(self.route["metadata"]["name"])

    @property
    def entry_points(self) -> tuple[str, ...]:
        """Names of the entry points it is for; none means all."""
        return tuple(self.route.get("spec", {}).get("entryPoints") or ())

    def leads_to(self, service: str, numbers: frozenset[str]) -> bool:
        """Tell whether it leads to a port of a Service, by name or number."""
        return self.service.get("name") == service and str(self.service.get("port")) in numbers


def route(proof: Proof, target: Target) -> Outcome:
    """Find the listener's IngressRouteTCP, and follow it from the entry point to the Service."""
    proxy = traefik(proof)
    name, service, port = target.bound.name, target.address.host, target.listener.public_port
    proxied = target.bound.proxied
    expected = (
        f"an IngressRouteTCP from entry point {name} to {service} port {port}, "
        f"{'with PROXY protocol version 2' if proxied else 'without PROXY protocol'}"
    )
    ways = tuple(_ways(proxy))
    own = [way for way in ways if way.leads_to(service, frozenset({name, str(port)}))]
    by_name = [way for way in own if name in way.entry_points]
    there = next(iter([*by_name, *own]), None)
    if there is None:
        others = [way for way in ways if name in way.entry_points]
        outcome = _astray(expected, target, others)
    else:
        outcome = _followed(proxy, expected, target, there)
    return replace(outcome, blames=(name,)) if outcome.status is Status.FAIL else outcome


def _ways(proxy: Traefik) -> Iterator[Way]:
    for one in proxy.routes():
        for rule in one.get("spec", {}).get("routes") or ():
            for service in rule.get("services") or ():
                yield Way(one, service)


def _astray(expected: str, target: Target, others: list[Way]) -> Outcome:
    """Say that no route leads to the listener, and where that of its entry point leads."""
    name, service = target.bound.name, target.address.host
    if others:
        where = others[0].service
        return Outcome(
            Status.FAIL,
            expected,
            f"{others[0].name} leads to {where.get('name')} port {where.get('port')}",
            fix=f"Have {others[0].name} lead to Service {service}, port {name}: "
            f"kubectl edit ingressroutetcp {others[0].name}",
        )
    return Outcome(
        Status.FAIL,
        expected,
        f"no IngressRouteTCP leads to {service} port {name}",
        fix="Apply deploy/kustomize/ingress/traefik, whose routes these are; where there are none "
        "of the kind, install Traefik with its CRDs first.",
    )


def _followed(proxy: Traefik, expected: str, target: Target, way: Way) -> Outcome:
    """Follow a route from both ends."""
    known = proxy.entry_points()
    wrong = [one for one in way.entry_points if one not in known]
    edit = f"kubectl edit ingressroutetcp {way.name}"
    if wrong or not way.entry_points:
        has = ", ".join(sorted(known)) or "none"
        named = f"names entry point {', '.join(wrong)}" if wrong else "names no entry point"
        name = target.bound.name
        fix = f"Have it name {name}: {edit}."
        if name not in known:
            fix += f" Traefik has to have it: ports.{name} in deploy/traefik/values.yaml."
        return Outcome(Status.FAIL, expected, f"{way.name} {named}; Traefik has {has}", fix=fix)
    service = proxy.cluster.service(target.address.host)
    if service is None or not _has(service, way.service.get("port")):
        what = "a Service" if service is None else "a port of it"
        return Outcome(
            Status.FAIL,
            expected,
            f"{way.name} leads to {target.address.host} port {way.service.get('port')}, and there "
            f"is no such {what.removeprefix('a ')}",
            fix=f"Apply deploy/kustomize/{target.address.host}, or correct the route: {edit}",
        )
    return _announced(proxy, expected, target, way)


def _has(service: Object, port: object) -> bool:
    return any(port in {row.get("name"), row.get("port")} for row in ports(service))


def _announced(proxy: Traefik, expected: str, target: Target, way: Way) -> Outcome:
    """See whether the route announces the client as the listener takes it."""
    version, how = _version(proxy, way)
    observed = f"{way.name}: {', '.join(way.entry_points)} to {target.address.host}, {how}"
    edit = f"kubectl edit ingressroutetcp {way.name}"
    if bool(version) == target.bound.proxied:
        if version in {0, _VERSION}:
            return Outcome(Status.PASS, expected, observed)
        return Outcome(
            Status.RISK,
            expected,
            observed,
            fix=f"Version {version} is slower to read and names no client for health checks. Set "
            f"proxyProtocol.version: {_VERSION}: {edit}",
        )
    if version:
        switch = f"{target.address.host.upper()}_UPSTREAM_PROXY"
        return Outcome(
            Status.FAIL,
            expected,
            observed,
            fix=f"{target.bound.daemon} takes no header and would read it as a command. Set "
            f"{switch}=true and TRUSTED_PROXIES, or take the PROXY protocol out: {edit}",
        )
    return Outcome(
        Status.FAIL,
        expected,
        observed,
        fix="Without a header nobody knows the client, and the connection is refused. Put beside "
        f"the service's name proxyProtocol: {{version: {_VERSION}}}, or a serversTransport that "
        f"has it: {edit}",
    )


def _version(proxy: Traefik, way: Way) -> tuple[int, str]:
    """Return the version of the PROXY protocol that a route speaks, 0 for none, and how it does."""
    if (own := way.service.get("proxyProtocol")) is not None:
        return _number(own), f"PROXY protocol version {_number(own)}"
    name = str(way.service.get("serversTransport") or "")
    if not name:
        return 0, "no PROXY protocol"
    transport = proxy.transport(name)
    if transport is None:
        return 0, f"no PROXY protocol: there is no ServersTransportTCP {name}"
    own = transport.get("spec", {}).get("proxyProtocol")
    if own is None:
        return 0, f"no PROXY protocol: ServersTransportTCP {name} has none"
    return _number(own), f"PROXY protocol version {_number(own)} by {name}"


def _number(given: Mapping[str, Any]) -> int:
    return int(given.get("version", _VERSION))  # Traefik's own default
