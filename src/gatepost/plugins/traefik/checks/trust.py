"""TRUSTED_PROXIES in a cluster covers Traefik's pods, and little else."""

from __future__ import annotations

from gatepost import ip_addresses
from gatepost.model import IPNetwork, Status
from gatepost.plugins.traefik.checks.objects import traefik
from gatepost.verify.check import Outcome, Proof
from gatepost.verify.vantage.cluster import Object, addresses

_EXPECTED = "TRUSTED_PROXIES covers Traefik's pods and little else"
_WIDEST = {4: 16, 6: 48}
"""Prefix of a whole cluster's pod network as distributions make it; wider ones hold more."""


def trust(proof: Proof) -> Outcome:
    """Compare the networks with the addresses that Traefik's pods have now."""
    if not any(bound.proxied for bound in proof.topology.mail):
        return Outcome(
            Status.PASS, "nobody may send a PROXY header", "no port takes a PROXY header"
        )
    return judged(proof.topology.trusted_proxies, traefik(proof).pods())


def judged(trusted: tuple[IPNetwork, ...], pods: tuple[Object, ...]) -> Outcome:
    """Judge by pods of Traefik, at least one, each with an address."""
    owners = {str(pod["metadata"]["name"]): addresses(pod) for pod in pods}
    pods_seen = "; ".join(f"{name}: {', '.join(map(str, own))}" for name, own in owners.items())
    networks = ", ".join(map(str, trusted)) or "nobody"
    # A pod connects from its first address unless the Service is of the other family alone.
    outside = [name for name, own in owners.items() if not ip_addresses.within(own[0], trusted)]
    if outside:
        return Outcome(
            Status.FAIL,
            _EXPECTED,
            f"{networks} does not cover {', '.join(outside)}",
            pods_seen,
            fix="Every client behind it is refused. Set TRUSTED_PROXIES to the network "
            "of Traefik's pods: kubectl get pods -o wide -l app.kubernetes.io/name=traefik",
            kind="too-narrow",
        )
    wide = [str(network) for network in trusted if network.prefixlen < _WIDEST[network.version]]
    everyone = [one for own in owners.values() for one in own]
    unused = [str(n) for n in trusted if not any(a in n for a in everyone)]
    if wide or unused:
        observed = "; ".join(
            [
                *([f"wider than any pod network: {', '.join(wide)}"] if wide else []),
                *([f"no pod of Traefik's is in {', '.join(unused)}"] if unused else []),
            ]
        )
        return Outcome(
            Status.RISK,
            _EXPECTED,
            observed,
            pods_seen,
            fix="Whoever has an address in there and reaches a service port may claim to be any "
            "client. Name the smallest network that Traefik's pods stay in, and no other: "
            "kubectl get nodes -o jsonpath='{.items[*].spec.podCIDRs}'",
            kind="too-wide",
        )
    return Outcome(Status.PASS, _EXPECTED, f"{networks} covers {', '.join(owners)}", pods_seen)
