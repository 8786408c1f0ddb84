"""Clients' addresses arrive at Traefik unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatepost.model import Status
from gatepost.plugins.traefik.checks.objects import Traefik, traefik
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.vantage.cluster import Object, ports

_EXPECTED = "what leads from the world to Traefik keeps the client's address"
_OUTSIDE = frozenset({"LoadBalancer", "NodePort"})
_LOCAL = "Local"


def traffic_policy(proof: Proof) -> Outcome:
    """Look at the Services by which the world reaches Traefik's mail entry points.

    With ``externalTrafficPolicy: Cluster``, the default, the node that a connection comes to puts
    its own address in the client's place. An entry point that learns the client from a load
    balancer's PROXY header does not need to see it.
    """
    proxy = traefik(proof)
    entry_points = proxy.entry_points()
    names = frozenset(bound.name for bound in proof.topology.mail)
    policies: list[str] = []
    wrong: list[str] = []
    for service in proxy.services():
        spec = service["spec"]
        published = set(_published(service, entry_points)) & names
        if spec.get("type", "ClusterIP") not in _OUTSIDE or not published:
            continue
        name, policy = str(service["metadata"]["name"]), _policy(spec)
        if policy == _LOCAL:
            policies.append(f"{name}: {policy}")
        elif all(_is_announced(entry_points.get(one, {})) for one in published):
            policies.append(
                f"{name}: {policy}, and a load balancer's PROXY header names the client"
            )
        else:
            policies.append(f"{name}: {policy}")
            wrong.append(name)
    if wrong:
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"externalTrafficPolicy of {'; '.join(policies)}",
            fix="The node's own address takes the clients' place. Set "
            f"externalTrafficPolicy: {_LOCAL} on Service {' and '.join(wrong)} in namespace "
            f"{proxy.namespace}, as deploy/traefik/values.yaml has it. With a load "
            "balancer that speaks the PROXY protocol, name it in the entry points' "
            "proxyProtocol.trustedIPs instead.",
            kind="hides-clients",
        )
    if policies:
        return Outcome(Status.PASS, _EXPECTED, f"externalTrafficPolicy of {'; '.join(policies)}")
    how = "Traefik has ports of the node itself" if _on_the_node(proxy) else "not at all"
    return Outcome(
        Status.PASS,
        _EXPECTED,
        f"no Service of Traefik's leads from the world to these entry points: {how}",
    )


def _policy(spec: Mapping[str, str]) -> str:
    return str(spec.get("externalTrafficPolicy") or "Cluster")


def _published(service: Object, entry_points: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield the entry points that a Service leads to: by the port's name, or by its target."""
    numbers = {
        options.get("address", "").partition("/")[0].rpartition(":")[2]: name
        for name, options in entry_points.items()
    }
    for row in ports(service):
        target = str(row.get("targetPort", row.get("port")))
        yield numbers.get(target, target)
        yield str(row.get("name", ""))


def _is_announced(options: Mapping[str, str]) -> bool:
    return any(option.startswith("proxyprotocol.") for option in options)


def _on_the_node(proxy: Traefik) -> bool:
    return any(
        pod["spec"].get("hostNetwork")
        or any(
            port.get("hostPort")
            for container in pod["spec"]["containers"]
            for port in container.get("ports") or ()
        )
        for pod in proxy.pods()
    )
